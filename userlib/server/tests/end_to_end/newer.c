// SPDX-License-Identifier: Apache-2.0 OR MIT
/* What OpenCL 2.0 to 3.0 added. It also passes on the vendor's own library. */
#define CL_TARGET_OPENCL_VERSION 300
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS
#define CL_USE_DEPRECATED_OPENCL_2_2_APIS
#include "program.h"

static const char source[] =
	"__kernel void sum(__global int *out, int a, int b) { out[get_global_id(0)] = a + b; }\n"
	"__kernel void local_sum(__global int *out, __local int *tmp)\n"
	"{ tmp[get_local_id(0)] = 1; barrier(CLK_LOCAL_MEM_FENCE); *out = tmp[0]; }\n";

/* Whether it is the vendor's own library. */
static int native;

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
	queues();
	samplers();
	memory();
	destructors();
	nothing_to_run(program, mem);
	OK(clReleaseMemObject(mem));
	OK(clReleaseProgram(program));
	close_device();
	return finish();
}
