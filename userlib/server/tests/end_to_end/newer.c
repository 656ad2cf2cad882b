// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * What OpenCL 2.0 to 3.0 added, and what of it is optional and not forwarded. It also passes
 * on the vendor's own library, where it prints the same.
 */
#define CL_TARGET_OPENCL_VERSION 300
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS
#define CL_USE_DEPRECATED_OPENCL_2_2_APIS
#include "program.h"

static const char source[] =
	"__kernel void sum(__global int *out, int a, int b) { out[get_global_id(0)] = a + b; }\n"
	"__kernel void local_sum(__global int *out, __local int *tmp)\n"
	"{ tmp[get_local_id(0)] = 1; barrier(CLK_LOCAL_MEM_FENCE); *out = tmp[0]; }\n";

/* In SPIR-V, where the 7th specialization constant is 5 if it is not set:
 * kernel void add(global uint *out, uint value) { *out = value + constant; }
 */
#define OP(words, operation) ((words) << 16 | (operation))
enum { VOID = 1, UINT, POINTER, FUNCTION, CONSTANT, ADD, OUT, VALUE, LABEL, SUM, BOUND };
static const cl_uint il[] = {
	0x07230203, 0x00010000, 0, BOUND, 0,
	OP(2, 17), 4, /* capability: addresses */
	OP(2, 17), 6, /* kernels */
	OP(3, 14), 2, 2, /* memory model: 64 bits, OpenCL's */
	OP(4, 15), 6, ADD, 'a' | 'd' << 8 | 'd' << 16, /* entry point */
	OP(4, 71), CONSTANT, 1, 7, /* decoration: its number */
	OP(2, 19), VOID,
	OP(4, 21), UINT, 32, 0,
	OP(4, 32), POINTER, 5, UINT, /* to global memory */
	OP(5, 33), FUNCTION, VOID, POINTER, UINT,
	OP(4, 50), UINT, CONSTANT, 5,
	OP(5, 54), VOID, ADD, 0, FUNCTION,
	OP(3, 55), POINTER, OUT,
	OP(3, 55), UINT, VALUE,
	OP(2, 248), LABEL,
	OP(5, 128), UINT, SUM, VALUE, CONSTANT,
	OP(5, 62), OUT, SUM, 2, 4, /* store, aligned */
	OP(1, 253), /* return */
	OP(1, 56),
};

/* Whether it is the vendor's own library, of which other features are there. */
static int native;

static cl_uint number(cl_device_info name)
{
	cl_uint value = 77;

	OK(clGetDeviceInfo(device, name, sizeof(value), &value, NULL));
	return value;
}

/* Prints versions with their names, but for those of extensions, which are not forwarded. */
static void print_named(const char *what, const cl_name_version *list, size_t len)
{
	printf("%s:", what);
	for (size_t i = 0; i < len / sizeof(*list); i++) {
		if (strncmp(list[i].name, "__opencl_c_ext_", 15) == 0)
			EXPECT(native);
		else
			printf(" %s %#x", list[i].name, list[i].version);
	}
	printf("\n");
}

static size_t named(cl_device_info name, cl_name_version *list, size_t room)
{
	size_t len = 0;

	OK(clGetDeviceInfo(device, name, room, list, &len));
	EXPECT(len % sizeof(*list) == 0);
	return len;
}

static int has(const cl_name_version *list, size_t len, const char *name, cl_version version)
{
	for (size_t i = 0; i < len / sizeof(*list); i++)
		if (strcmp(list[i].name, name) == 0 && list[i].version == version)
			return 1;
	return 0;
}

static void versions(void)
{
	static cl_name_version list[64];
	static char text[8192];
	cl_version version = 0;
	cl_ulong resolution = 77;
	size_t len = 0, words = 0;

	OK(clGetPlatformInfo(platform, CL_PLATFORM_VERSION, sizeof(text), text, NULL));
	EXPECT(strncmp(text, "OpenCL 3.0 ", 11) == 0);
	printf("%s\n", text);
	OK(clGetPlatformInfo(platform, CL_PLATFORM_NUMERIC_VERSION, sizeof(version), &version, NULL));
	EXPECT(version == CL_MAKE_VERSION(3, 0, 0));
	OK(clGetPlatformInfo(platform, CL_PLATFORM_HOST_TIMER_RESOLUTION, sizeof(resolution),
			     &resolution, NULL));
	EXPECT(resolution == 1);
	OK(clGetPlatformInfo(platform, CL_PLATFORM_EXTENSIONS_WITH_VERSION, sizeof(list), list, &len));
	EXPECT(has(list, len, "cl_khr_icd", CL_MAKE_VERSION(1, 0, 0)));
	EXPECT(native || len == sizeof(*list));

	OK(clGetDeviceInfo(device, CL_DEVICE_VERSION, sizeof(text), text, NULL));
	EXPECT(strncmp(text, "OpenCL 3.0 ", 11) == 0);
	printf("%s\n", text);
	OK(clGetDeviceInfo(device, CL_DEVICE_OPENCL_C_VERSION, sizeof(text), text, NULL));
	printf("%s\n", text);
	OK(clGetDeviceInfo(device, CL_DEVICE_IL_VERSION, sizeof(text), text, NULL));
	printf("%s\n", text);
	EXPECT(number(CL_DEVICE_NUMERIC_VERSION) == CL_MAKE_VERSION(3, 0, 0));
	len = named(CL_DEVICE_OPENCL_C_ALL_VERSIONS, list, sizeof(list));
	print_named("versions of OpenCL C", list, len);
	EXPECT(has(list, len, "OpenCL C", CL_MAKE_VERSION(3, 0, 0)));
	EXPECT(!has(list, len, "OpenCL C", CL_MAKE_VERSION(2, 0, 0)));
	print_named("ILs", list, named(CL_DEVICE_ILS_WITH_VERSION, list, sizeof(list)));
	print_named("features", list, named(CL_DEVICE_OPENCL_C_FEATURES, list, sizeof(list)));

	/* They are those that have no version. */
	len = named(CL_DEVICE_EXTENSIONS_WITH_VERSION, list, sizeof(list));
	EXPECT(has(list, len, "cl_khr_fp64", CL_MAKE_VERSION(1, 0, 0)));
	EXPECT(native == has(list, len, "cl_khr_command_buffer", CL_MAKE_VERSION(0, 9, 4)));
	OK(clGetDeviceInfo(device, CL_DEVICE_EXTENSIONS, sizeof(text), text, NULL));
	for (char *word = strtok(text, " "); word; word = strtok(NULL, " "))
		words++;
	EXPECT(native || words == len / sizeof(*list));
	printf("%u sub-groups, %u, %u, %u\n", number(CL_DEVICE_MAX_NUM_SUB_GROUPS),
	       number(CL_DEVICE_NON_UNIFORM_WORK_GROUP_SUPPORT),
	       number(CL_DEVICE_GENERIC_ADDRESS_SPACE_SUPPORT),
	       number(CL_DEVICE_MAX_READ_WRITE_IMAGE_ARGS));
}

/* What is optional and not forwarded is not there, in no way. */
static void absent(cl_program program)
{
	cl_device_svm_capabilities svm = 77;
	cl_command_queue_properties on_device = 77;
	cl_queue_properties properties[] = { CL_QUEUE_PROPERTIES,
					     CL_QUEUE_ON_DEVICE | CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE,
					     0 };
	cl_kernel kernel;
	cl_mem mem;
	cl_bool uses_svm = 77;
	char value[16];
	void *pointer = value;
	const void *constant = value;
	cl_int err = 0;

	EXPECT(number(CL_DEVICE_PIPE_SUPPORT) == CL_FALSE);
	EXPECT(number(CL_DEVICE_MAX_PIPE_ARGS) == 0);
	EXPECT(number(CL_DEVICE_PIPE_MAX_ACTIVE_RESERVATIONS) == 0);
	EXPECT(number(CL_DEVICE_PIPE_MAX_PACKET_SIZE) == 0);
	EXPECT(number(CL_DEVICE_QUEUE_ON_DEVICE_PREFERRED_SIZE) == 0);
	EXPECT(number(CL_DEVICE_QUEUE_ON_DEVICE_MAX_SIZE) == 0);
	EXPECT(number(CL_DEVICE_MAX_ON_DEVICE_QUEUES) == 0);
	EXPECT(number(CL_DEVICE_MAX_ON_DEVICE_EVENTS) == 0);
	OK(clGetDeviceInfo(device, CL_DEVICE_QUEUE_ON_DEVICE_PROPERTIES, sizeof(on_device), &on_device,
			   NULL));
	EXPECT(on_device == 0);
	STATUS(clSetDefaultDeviceCommandQueue(context, device, queue), CL_INVALID_OPERATION);
	EXPECT(clCreatePipe(context, 0, 4, 4, NULL, &err) == NULL);
	STATUS(err, CL_INVALID_OPERATION);
	mem = clCreateBuffer(context, CL_MEM_READ_WRITE, 64, NULL, &err);
	OK(err);
	STATUS(clGetPipeInfo(mem, CL_PIPE_PACKET_SIZE, sizeof(value), value, NULL),
	       CL_INVALID_MEM_OBJECT);
	OK(clGetMemObjectInfo(mem, CL_MEM_USES_SVM_POINTER, sizeof(uses_svm), &uses_svm, NULL));
	EXPECT(uses_svm == CL_FALSE);
	STATUS(clSetProgramReleaseCallback(program, NULL, NULL), CL_INVALID_OPERATION);

	OK(clGetDeviceInfo(device, CL_DEVICE_SVM_CAPABILITIES, sizeof(svm), &svm, NULL));
	EXPECT(native || svm == 0);
	if (svm != 0) {
		OK(clReleaseMemObject(mem));
		return;
	}
	EXPECT(clCreateCommandQueueWithProperties(context, device, properties, &err) == NULL);
	STATUS(err, CL_INVALID_QUEUE_PROPERTIES);
	EXPECT(clSVMAlloc(context, CL_MEM_READ_WRITE, 64, 0) == NULL);
	clSVMFree(context, NULL);
	STATUS(clEnqueueSVMFree(queue, 1, &pointer, NULL, NULL, 0, NULL, NULL), CL_INVALID_OPERATION);
	STATUS(clEnqueueSVMMemcpy(queue, CL_TRUE, value, value + 8, 8, 0, NULL, NULL),
	       CL_INVALID_OPERATION);
	STATUS(clEnqueueSVMMemFill(queue, value, "x", 1, 8, 0, NULL, NULL), CL_INVALID_OPERATION);
	STATUS(clEnqueueSVMMap(queue, CL_TRUE, CL_MAP_READ, value, 8, 0, NULL, NULL),
	       CL_INVALID_OPERATION);
	STATUS(clEnqueueSVMUnmap(queue, value, 0, NULL, NULL), CL_INVALID_OPERATION);
	STATUS(clEnqueueSVMMigrateMem(queue, 1, &constant, NULL, 0, 0, NULL, NULL),
	       CL_INVALID_OPERATION);
	STATUS(clEnqueueSVMUnmap(NULL, value, 0, NULL, NULL), CL_INVALID_COMMAND_QUEUE);
	kernel = clCreateKernel(program, "sum", &err);
	OK(err);
	STATUS(clSetKernelArgSVMPointer(kernel, 0, value), CL_INVALID_OPERATION);
	STATUS(clSetKernelExecInfo(kernel, CL_KERNEL_EXEC_INFO_SVM_PTRS, sizeof(pointer), &pointer),
	       CL_INVALID_OPERATION);
	OK(clReleaseKernel(kernel));
	OK(clReleaseMemObject(mem));
}

#define NONE ((size_t)-1)

/* Each list is told as it was given: so many words, or none. */
static void is_told(cl_int err, size_t len, const cl_ulong *told, const cl_ulong *given, size_t words)
{
	OK(err);
	EXPECT(len == words * sizeof(*given));
	EXPECT(memcmp(told, given, words * sizeof(*given)) == 0);
}

static void queues(void)
{
	const cl_queue_properties lists[][5] = {
		{ 0 },
		{ CL_QUEUE_PROPERTIES, CL_QUEUE_PROFILING_ENABLE, 0 },
	};
	const cl_queue_properties bad[][5] = {
		{ CL_QUEUE_PROPERTIES, 0, CL_QUEUE_SIZE, 64, 0 },
		{ CL_QUEUE_CONTEXT, 0, 0 },
		{ CL_QUEUE_PROPERTIES, 0, CL_QUEUE_PROPERTIES, 0, 0 },
	};
	const size_t words[] = { 1, 3 };
	cl_queue_properties told[8];
	cl_command_queue_properties bits = 77;
	cl_command_queue made, on_device = queue;
	size_t len = NONE;
	cl_int err;

	for (int i = 0; i < 2; i++) {
		made = clCreateCommandQueueWithProperties(context, device, lists[i], &err);
		OK(err);
		err = clGetCommandQueueInfo(made, CL_QUEUE_PROPERTIES_ARRAY, sizeof(told), told, &len);
		is_told(err, len, told, lists[i], words[i]);
		OK(clGetCommandQueueInfo(made, CL_QUEUE_PROPERTIES, sizeof(bits), &bits, NULL));
		EXPECT(bits == (i == 0 ? 0 : CL_QUEUE_PROFILING_ENABLE));
		OK(clReleaseCommandQueue(made));
	}
	for (int i = 0; i < 3; i++) {
		EXPECT(clCreateCommandQueueWithProperties(context, device, bad[i], &err) == NULL);
		STATUS(err, CL_INVALID_VALUE);
	}
	OK(clGetCommandQueueInfo(queue, CL_QUEUE_PROPERTIES_ARRAY, 0, NULL, &len));
	EXPECT(len == 0);
	STATUS(clGetCommandQueueInfo(queue, CL_QUEUE_SIZE, sizeof(told), told, NULL),
	       CL_INVALID_COMMAND_QUEUE);
	OK(clGetCommandQueueInfo(queue, CL_QUEUE_DEVICE_DEFAULT, sizeof(on_device), &on_device, NULL));
	EXPECT(on_device == NULL);
}

static void samplers(void)
{
	const cl_sampler_properties lists[][7] = {
		{ 0 },
		{ CL_SAMPLER_FILTER_MODE, CL_FILTER_LINEAR, CL_SAMPLER_NORMALIZED_COORDS, CL_FALSE,
		  CL_SAMPLER_ADDRESSING_MODE, CL_ADDRESS_CLAMP_TO_EDGE, 0 },
	};
	const cl_sampler_properties bad[][5] = {
		{ CL_SAMPLER_CONTEXT, 0, 0 },
		{ CL_SAMPLER_FILTER_MODE, CL_FILTER_LINEAR, CL_SAMPLER_FILTER_MODE, CL_FILTER_LINEAR, 0 },
		{ CL_SAMPLER_NORMALIZED_COORDS, 2, 0 },
	};
	const size_t words[] = { 1, 7 };
	cl_sampler_properties told[8];
	cl_addressing_mode addressing = 0;
	cl_filter_mode filter = 0;
	cl_bool normalized = 77;
	cl_sampler sampler;
	size_t len = NONE;
	cl_int err;

	for (int i = 0; i < 2; i++) {
		sampler = clCreateSamplerWithProperties(context, lists[i], &err);
		OK(err);
		err = clGetSamplerInfo(sampler, CL_SAMPLER_PROPERTIES, sizeof(told), told, &len);
		is_told(err, len, told, lists[i], words[i]);
		OK(clGetSamplerInfo(sampler, CL_SAMPLER_NORMALIZED_COORDS, sizeof(normalized),
				    &normalized, NULL));
		OK(clGetSamplerInfo(sampler, CL_SAMPLER_ADDRESSING_MODE, sizeof(addressing), &addressing,
				    NULL));
		OK(clGetSamplerInfo(sampler, CL_SAMPLER_FILTER_MODE, sizeof(filter), &filter, NULL));
		EXPECT(normalized == (i == 0 ? CL_TRUE : CL_FALSE));
		EXPECT(addressing == (i == 0 ? CL_ADDRESS_CLAMP : CL_ADDRESS_CLAMP_TO_EDGE));
		EXPECT(filter == (i == 0 ? CL_FILTER_NEAREST : CL_FILTER_LINEAR));
		OK(clReleaseSampler(sampler));
	}
	for (int i = 0; i < 3; i++) {
		EXPECT(clCreateSamplerWithProperties(context, bad[i], &err) == NULL);
		STATUS(err, CL_INVALID_VALUE);
	}
	/* PoCL wants a list. */
	if (!native) {
		sampler = clCreateSamplerWithProperties(context, NULL, &err);
		OK(err);
		OK(clReleaseSampler(sampler));
	}
	sampler = clCreateSampler(context, CL_TRUE, CL_ADDRESS_CLAMP, CL_FILTER_NEAREST, &err);
	OK(err);
	OK(clGetSamplerInfo(sampler, CL_SAMPLER_PROPERTIES, 0, NULL, &len));
	EXPECT(len == 0);
	OK(clReleaseSampler(sampler));
}

static void memory(void)
{
	const cl_mem_properties empty[] = { 0 }, unknown[] = { 0x1234, 1, 0 };
	const cl_mem_properties *lists[] = { NULL, empty };
	const cl_image_format format = { CL_RGBA, CL_UNORM_INT8 };
	const cl_image_desc desc = {
		.image_type = CL_MEM_OBJECT_IMAGE2D, .image_width = 4, .image_height = 4
	};
	cl_mem_properties told[4];
	unsigned char data[64], back[64];
	const size_t origin[3] = { 0 }, region[3] = { 4, 4, 1 };
	size_t len = NONE;
	cl_mem mem;
	cl_int err;

	for (int i = 0; i < 64; i++)
		data[i] = i;
	for (int i = 0; i < 2; i++) {
		mem = clCreateBufferWithProperties(context, lists[i],
						   CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR, sizeof(data),
						   data, &err);
		OK(err);
		err = clGetMemObjectInfo(mem, CL_MEM_PROPERTIES, sizeof(told), told, &len);
		is_told(err, len, told, empty, i);
		OK(clEnqueueReadBuffer(queue, mem, CL_TRUE, 0, sizeof(back), back, 0, NULL, NULL));
		EXPECT(memcmp(data, back, sizeof(data)) == 0);
		OK(clReleaseMemObject(mem));

		memset(back, 0, sizeof(back));
		mem = clCreateImageWithProperties(context, lists[i],
						  CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR, &format,
						  &desc, data, &err);
		OK(err);
		err = clGetMemObjectInfo(mem, CL_MEM_PROPERTIES, sizeof(told), told, &len);
		is_told(err, len, told, empty, i);
		OK(clEnqueueReadImage(queue, mem, CL_TRUE, origin, region, 0, 0, back, 0, NULL, NULL));
		EXPECT(memcmp(data, back, sizeof(data)) == 0);
		OK(clReleaseMemObject(mem));
	}
	EXPECT(clCreateBufferWithProperties(context, unknown, 0, 64, NULL, &err) == NULL);
	STATUS(err, CL_INVALID_PROPERTY);
	EXPECT(clCreateImageWithProperties(context, unknown, 0, &format, &desc, NULL, &err) == NULL);
	STATUS(err, CL_INVALID_PROPERTY);
	mem = clCreateBuffer(context, CL_MEM_READ_WRITE, 64, NULL, &err);
	OK(err);
	OK(clGetMemObjectInfo(mem, CL_MEM_PROPERTIES, 0, NULL, &len));
	EXPECT(len == 0);
	OK(clReleaseMemObject(mem));
}

static int result_of(cl_kernel kernel, cl_mem mem)
{
	const size_t one = 1;
	int out = -1;

	OK(clEnqueueNDRangeKernel(queue, kernel, 1, NULL, &one, NULL, 0, NULL, NULL));
	OK(clEnqueueReadBuffer(queue, mem, CL_TRUE, 0, sizeof(out), &out, 0, NULL, NULL));
	return out;
}

/* A clone has the arguments of its kernel, and from then on its own. */
static void clones(cl_program program, cl_mem mem)
{
	const int one = 1, two = 2, ten = 10;
	cl_program its_program;
	cl_kernel kernel, clone, second;
	cl_uint count = 0;
	cl_int err;

	kernel = clCreateKernel(program, "sum", &err);
	OK(err);
	OK(clSetKernelArg(kernel, 0, sizeof(mem), &mem));
	OK(clSetKernelArg(kernel, 1, sizeof(one), &one));
	OK(clSetKernelArg(kernel, 2, sizeof(two), &two));
	clone = clCloneKernel(kernel, &err);
	OK(err);
	OK(clSetKernelArg(kernel, 1, sizeof(ten), &ten));
	EXPECT(result_of(clone, mem) == 3);
	EXPECT(result_of(kernel, mem) == 12);
	OK(clSetKernelArg(clone, 2, sizeof(ten), &ten));
	second = clCloneKernel(clone, &err);
	OK(err);
	EXPECT(result_of(kernel, mem) == 12);
	OK(clGetKernelInfo(clone, CL_KERNEL_PROGRAM, sizeof(its_program), &its_program, NULL));
	EXPECT(its_program == program);
	OK(clGetKernelInfo(clone, CL_KERNEL_REFERENCE_COUNT, sizeof(count), &count, NULL));
	EXPECT(count == 1);
	/* It needs the kernel no longer. */
	OK(clReleaseKernel(kernel));
	OK(clReleaseKernel(clone));
	EXPECT(result_of(second, mem) == 11);
	OK(clReleaseKernel(second));
	EXPECT(clCloneKernel(NULL, &err) == NULL);
	STATUS(err, CL_INVALID_KERNEL);
}

static void sub_groups(cl_program program)
{
	const size_t local[3] = { 8, 4, 1 }, four = 4;
	size_t value = 0, sizes[3] = { 0 }, len = 0;
	cl_kernel kernel;
	cl_int err;

	kernel = clCreateKernel(program, "local_sum", &err);
	OK(err);
	OK(clGetKernelSubGroupInfo(kernel, device, CL_KERNEL_MAX_SUB_GROUP_SIZE_FOR_NDRANGE,
				   sizeof(local), local, sizeof(value), &value, &len));
	EXPECT(len == sizeof(value));
	printf("sub-group of %zu\n", value);
	OK(clGetKernelSubGroupInfo(kernel, NULL, CL_KERNEL_SUB_GROUP_COUNT_FOR_NDRANGE, sizeof(local),
				   local, sizeof(value), &value, NULL));
	printf("%zu sub-groups\n", value);
	OK(clGetKernelSubGroupInfo(kernel, device, CL_KERNEL_LOCAL_SIZE_FOR_SUB_GROUP_COUNT,
				   sizeof(four), &four, sizeof(sizes), sizes, &len));
	EXPECT(len == sizeof(sizes));
	printf("work-group of %zu, %zu, %zu\n", sizes[0], sizes[1], sizes[2]);
	OK(clGetKernelSubGroupInfo(kernel, device, CL_KERNEL_MAX_NUM_SUB_GROUPS, 0, NULL,
				   sizeof(value), &value, &len));
	printf("%zu sub-groups at most\n", value);
	OK(clGetKernelSubGroupInfo(kernel, device, CL_KERNEL_COMPILE_NUM_SUB_GROUPS, 0, NULL, 0, NULL,
				   &len));
	EXPECT(len == sizeof(value));
	STATUS(clGetKernelSubGroupInfo(kernel, device, CL_KERNEL_MAX_NUM_SUB_GROUPS, 0, NULL, 4, &value,
				       NULL),
	       CL_INVALID_VALUE);
	STATUS(clGetKernelSubGroupInfo(kernel, device, CL_KERNEL_MAX_SUB_GROUP_SIZE_FOR_NDRANGE, 0,
				       NULL, sizeof(value), &value, NULL),
	       CL_INVALID_VALUE);
	STATUS(clGetKernelSubGroupInfo(NULL, device, CL_KERNEL_MAX_NUM_SUB_GROUPS, 0, NULL,
				       sizeof(value), &value, NULL),
	       CL_INVALID_KERNEL);
	OK(clReleaseKernel(kernel));
}

static void timers(void)
{
	cl_ulong on_device[2] = { 0 }, on_host[3] = { 0 };

	OK(clGetDeviceAndHostTimer(device, &on_device[0], &on_host[0]));
	OK(clGetHostTimer(device, &on_host[1]));
	OK(clGetDeviceAndHostTimer(device, &on_device[1], &on_host[2]));
	EXPECT(on_host[0] > 0 && on_host[0] <= on_host[1] && on_host[1] <= on_host[2]);
	EXPECT(on_device[0] > 0 && on_device[0] <= on_device[1]);
	STATUS(clGetHostTimer(device, NULL), CL_INVALID_VALUE);
	STATUS(clGetDeviceAndHostTimer(device, NULL, &on_host[0]), CL_INVALID_VALUE);
	STATUS(clGetHostTimer(NULL, &on_host[0]), CL_INVALID_DEVICE);
}

static void intermediate(cl_program of_source, cl_mem mem)
{
	static char told[sizeof(il)];
	const cl_uint value = 30, constant = 12;
	const cl_uchar byte = 1;
	cl_program program;
	cl_kernel kernel;
	size_t len = 0;
	cl_int err;

	for (int set = 0; set < 2; set++) {
		program = clCreateProgramWithIL(context, il, sizeof(il), &err);
		OK(err);
		OK(clGetProgramInfo(program, CL_PROGRAM_IL, sizeof(told), told, &len));
		EXPECT(len == sizeof(il) && memcmp(told, il, len) == 0);
		STATUS(clSetProgramSpecializationConstant(program, 8, sizeof(constant), &constant),
		       CL_INVALID_SPEC_ID);
		STATUS(clSetProgramSpecializationConstant(program, 7, sizeof(byte), &byte),
		       CL_INVALID_VALUE);
		if (set)
			OK(clSetProgramSpecializationConstant(program, 7, sizeof(constant), &constant));
		OK(clBuildProgram(program, 1, &device, NULL, NULL, NULL));
		kernel = clCreateKernel(program, "add", &err);
		OK(err);
		OK(clSetKernelArg(kernel, 0, sizeof(mem), &mem));
		OK(clSetKernelArg(kernel, 1, sizeof(value), &value));
		EXPECT(result_of(kernel, mem) == (set ? 42 : 35));
		OK(clReleaseKernel(kernel));
		OK(clReleaseProgram(program));
	}
	EXPECT(clCreateProgramWithIL(context, NULL, 4, &err) == NULL);
	STATUS(err, CL_INVALID_VALUE);
	EXPECT(clCreateProgramWithIL(context, il, 0, &err) == NULL);
	STATUS(err, CL_INVALID_VALUE);
	EXPECT(clCreateProgramWithIL(NULL, il, sizeof(il), &err) == NULL);
	STATUS(err, CL_INVALID_CONTEXT);
	EXPECT(clCreateProgramWithIL(context, source, sizeof(source), &err) == NULL);
	STATUS(err, CL_INVALID_VALUE);
	STATUS(clSetProgramSpecializationConstant(of_source, 7, sizeof(constant), &constant),
	       CL_INVALID_PROGRAM);
}

static int called, order[3];

static void CL_CALLBACK gone(cl_context of, void *number)
{
	EXPECT(of != NULL);
	order[called++] = *(int *)number;
}

/* Called when the last of what needs the context is gone, the last first. */
static void destructors(void)
{
	static int numbers[3] = { 1, 2, 3 };
	cl_context other;
	cl_mem mem;
	cl_int err;

	other = clCreateContext(NULL, 1, &device, NULL, NULL, &err);
	OK(err);
	for (int i = 0; i < 3; i++)
		OK(clSetContextDestructorCallback(other, gone, &numbers[i]));
	STATUS(clSetContextDestructorCallback(other, NULL, NULL), CL_INVALID_VALUE);
	STATUS(clSetContextDestructorCallback(NULL, gone, &numbers[0]), CL_INVALID_CONTEXT);
	mem = clCreateBuffer(other, CL_MEM_READ_WRITE, 64, NULL, &err);
	OK(err);
	OK(clReleaseContext(other));
	EXPECT(called == 0);
	OK(clReleaseMemObject(mem));
	EXPECT(called == 3 && order[0] == 3 && order[1] == 2 && order[2] == 1);
}

/* Nothing runs, and that is no mistake any more. */
static void nothing_to_run(cl_program program, cl_mem mem)
{
	const size_t zero = 0;
	const int value = 1;
	cl_int status = 1;
	cl_event event;
	cl_kernel kernel;
	cl_int err;

	kernel = clCreateKernel(program, "sum", &err);
	OK(err);
	OK(clSetKernelArg(kernel, 0, sizeof(mem), &mem));
	OK(clSetKernelArg(kernel, 1, sizeof(value), &value));
	OK(clSetKernelArg(kernel, 2, sizeof(value), &value));
	OK(clEnqueueNDRangeKernel(queue, kernel, 1, NULL, &zero, NULL, 0, NULL, NULL));
	OK(clEnqueueNDRangeKernel(queue, kernel, 3, NULL, NULL, NULL, 0, NULL, &event));
	OK(clFinish(queue));
	OK(clGetEventInfo(event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof(status), &status, NULL));
	EXPECT(status == CL_COMPLETE);
	OK(clReleaseEvent(event));
	OK(clReleaseKernel(kernel));
}

int main(int argc, char **argv)
{
	cl_program program;
	cl_mem mem;
	cl_int err;

	native = argc > 1 && strcmp(argv[1], "native") == 0;
	open_device();
	program = build(source);
	mem = clCreateBuffer(context, CL_MEM_READ_WRITE, 64, NULL, &err);
	OK(err);
	versions();
	absent(program);
	queues();
	samplers();
	memory();
	clones(program, mem);
	sub_groups(program);
	timers();
	intermediate(program, mem);
	destructors();
	nothing_to_run(program, mem);
	OK(clReleaseMemObject(mem));
	OK(clReleaseProgram(program));
	close_device();
	return finish();
}
