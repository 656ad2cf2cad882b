// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * Uses every function that is forwarded as it is meant to be used. It also
 * passes on the vendor's own library, which tests the test.
 */
#include "program.h"

#define N 1024

static const char source[] =
	"struct pair { int x; float y; };\n"
	"__kernel void fill(__global int *out, int value)\n"
	"{ out[get_global_id(0)] = value + (int)get_global_id(0); }\n"
	"__kernel void scaled(__global const int *in, __global int *out, struct pair p,\n"
	"                     __local int *tmp)\n"
	"{ size_t i = get_global_id(0); tmp[get_local_id(0)] = in[i] * p.x;\n"
	"  barrier(CLK_LOCAL_MEM_FENCE); out[i] = tmp[get_local_id(0)] + (int)p.y; }\n"
	"__kernel void isnull(__global int *p, __global int *out) { *out = p == 0; }\n"
	"__kernel void place(__global int *out)\n"
	"{ out[get_global_id(1) * 16 + get_global_id(0)] += 1; }\n";

struct pair {
	cl_int x;
	cl_float y;
};

static cl_mem buffer(size_t bytes)
{
	cl_int err;
	cl_mem mem = clCreateBuffer(context, CL_MEM_READ_WRITE, bytes, NULL, &err);

	OK(err);
	return mem;
}

static cl_uint references(cl_mem mem)
{
	cl_uint count = 0;

	OK(clGetMemObjectInfo(mem, CL_MEM_REFERENCE_COUNT, sizeof(count), &count, NULL));
	return count;
}

static void queries(void)
{
	char text[1024];
	size_t len = 0;
	cl_uint count = 0;
	cl_platform_id its_platform;
	cl_device_id its_device;
	cl_context its_context;
	cl_context_properties properties[3];
	cl_context other;
	cl_image_format formats[8];
	cl_sampler sampler;
	cl_int err;

	OK(clGetPlatformIDs(0, NULL, &count));
	EXPECT(count >= 1);
	OK(clGetPlatformInfo(platform, CL_PLATFORM_NAME, 0, NULL, &len));
	EXPECT(len > 1 && len < sizeof(text));
	OK(clGetPlatformInfo(platform, CL_PLATFORM_NAME, len, text, NULL));
	EXPECT(strlen(text) == len - 1);
	OK(clGetDeviceInfo(device, CL_DEVICE_PLATFORM, sizeof(its_platform), &its_platform, NULL));
	EXPECT(its_platform == platform);
	OK(clGetContextInfo(context, CL_CONTEXT_DEVICES, sizeof(its_device), &its_device, &len));
	EXPECT(its_device == device && len == sizeof(its_device));
	OK(clGetContextInfo(context, CL_CONTEXT_PROPERTIES, sizeof(properties), properties, &len));
	EXPECT(len == sizeof(properties) && properties[1] == (cl_context_properties)platform);
	OK(clGetContextInfo(context, CL_CONTEXT_REFERENCE_COUNT, sizeof(count), &count, NULL));
	EXPECT(count >= 1);
	OK(clGetCommandQueueInfo(queue, CL_QUEUE_CONTEXT, sizeof(its_context), &its_context, NULL));
	EXPECT(its_context == context);
	OK(clGetCommandQueueInfo(queue, CL_QUEUE_DEVICE, sizeof(its_device), &its_device, NULL));
	EXPECT(its_device == device);
	OK(clRetainDevice(device));
	OK(clReleaseDevice(device));
	OK(clUnloadPlatformCompiler(platform));

	other = clCreateContextFromType(NULL, CL_DEVICE_TYPE_ALL, NULL, NULL, &err);
	OK(err);
	OK(clRetainContext(other));
	OK(clGetContextInfo(other, CL_CONTEXT_REFERENCE_COUNT, sizeof(count), &count, NULL));
	EXPECT(count == 2);
	OK(clReleaseContext(other));
	OK(clReleaseContext(other));

	OK(clGetSupportedImageFormats(context, CL_MEM_READ_ONLY, CL_MEM_OBJECT_IMAGE2D, 8, formats,
				      &count));
	sampler = clCreateSampler(context, CL_FALSE, CL_ADDRESS_CLAMP, CL_FILTER_NEAREST, &err);
	OK(err);
	OK(clGetSamplerInfo(sampler, CL_SAMPLER_CONTEXT, sizeof(its_context), &its_context, NULL));
	EXPECT(its_context == context);
	OK(clRetainSampler(sampler));
	OK(clReleaseSampler(sampler));
	OK(clReleaseSampler(sampler));
}

static void buffers(void)
{
	static int data[N], back[N];
	const cl_uchar pattern[4] = { 1, 2, 3, 4 };
	const size_t origin[3] = { 4, 1, 0 }, zero[3] = { 0, 0, 0 }, region[3] = { 8, 2, 1 };
	cl_buffer_region part = { 1024, 512 };
	cl_mem a = buffer(sizeof(data)), b = buffer(sizeof(data)), sub, parent;
	cl_event event = NULL, copied = NULL;
	cl_int status = 1, err;
	int *mapped;
	size_t offset;
	static int host[N];

	for (int i = 0; i < N; i++)
		data[i] = i * 3;
	OK(clEnqueueWriteBuffer(queue, a, CL_FALSE, 0, sizeof(data), data, 0, NULL, NULL));
	OK(clEnqueueCopyBuffer(queue, a, b, 0, 0, sizeof(data), 0, NULL, &copied));
	OK(clEnqueueReadBuffer(queue, b, CL_FALSE, 0, sizeof(back), back, 1, &copied, NULL));
	OK(clFinish(queue));
	EXPECT(memcmp(data, back, sizeof(data)) == 0);
	OK(clReleaseEvent(copied));

	/* The data of a read has landed when its event is seen to be complete. */
	memset(back, 0, sizeof(back));
	OK(clEnqueueReadBuffer(queue, a, CL_FALSE, 4, sizeof(back) - 4, back + 1, 0, NULL, &event));
	OK(clWaitForEvents(1, &event));
	EXPECT(memcmp(data + 1, back + 1, sizeof(data) - 4) == 0 && back[0] == 0);
	OK(clReleaseEvent(event));
	memset(back, 0, sizeof(back));
	OK(clEnqueueReadBuffer(queue, a, CL_FALSE, 0, sizeof(back), back, 0, NULL, &event));
	OK(clFlush(queue));
	while (status > CL_COMPLETE)
		OK(clGetEventInfo(event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof(status), &status,
				  NULL));
	EXPECT(status == CL_COMPLETE && memcmp(data, back, sizeof(data)) == 0);
	OK(clReleaseEvent(event));

	OK(clEnqueueFillBuffer(queue, b, pattern, 4, 16, 64, 0, NULL, NULL));
	OK(clEnqueueReadBuffer(queue, b, CL_TRUE, 0, sizeof(back), back, 0, NULL, NULL));
	EXPECT(back[3] == 9 && memcmp(&back[4], pattern, 4) == 0 &&
	       memcmp(&back[19], pattern, 4) == 0 && back[20] == 60);

	/* Two rows of 8 bytes, from column 4 of row 1 of 16-byte rows. */
	OK(clEnqueueCopyBufferRect(queue, a, b, origin, zero, region, 16, 0, 8, 0, 0, NULL, NULL));
	OK(clEnqueueReadBuffer(queue, b, CL_TRUE, 0, 16, back, 0, NULL, NULL));
	EXPECT(back[0] == data[5] && back[1] == data[6] && back[2] == data[9] && back[3] == data[10]);

	sub = clCreateSubBuffer(a, CL_MEM_READ_ONLY, CL_BUFFER_CREATE_TYPE_REGION, &part, &err);
	OK(err);
	OK(clGetMemObjectInfo(sub, CL_MEM_ASSOCIATED_MEMOBJECT, sizeof(parent), &parent, NULL));
	OK(clGetMemObjectInfo(sub, CL_MEM_OFFSET, sizeof(offset), &offset, NULL));
	EXPECT(parent == a && offset == 1024);
	OK(clEnqueueReadBuffer(queue, sub, CL_TRUE, 0, 512, back, 0, NULL, NULL));
	EXPECT(memcmp(data + 256, back, 512) == 0);
	OK(clReleaseMemObject(sub));

	mapped = clEnqueueMapBuffer(queue, a, CL_TRUE, CL_MAP_READ | CL_MAP_WRITE, 8, 64, 0, NULL,
				    &event, &err);
	OK(err);
	EXPECT(mapped && mapped[0] == data[2] && mapped[15] == data[17]);
	OK(clGetEventInfo(event, CL_EVENT_COMMAND_TYPE, sizeof(status), &status, NULL));
	EXPECT(status == CL_COMMAND_MAP_BUFFER);
	OK(clReleaseEvent(event));
	mapped[0] = -7;
	OK(clEnqueueUnmapMemObject(queue, a, mapped, 0, NULL, NULL));
	mapped = clEnqueueMapBuffer(queue, a, CL_FALSE, CL_MAP_WRITE_INVALIDATE_REGION, 16, 4, 0,
				    NULL, NULL, &err);
	OK(err);
	OK(clFinish(queue));
	mapped[0] = -8;
	OK(clEnqueueUnmapMemObject(queue, a, mapped, 0, NULL, NULL));
	mapped = clEnqueueMapBuffer(queue, a, CL_FALSE, CL_MAP_READ, 0, 32, 0, NULL, &event, &err);
	OK(err);
	OK(clWaitForEvents(1, &event));
	EXPECT(mapped[2] == -7 && mapped[3] == data[3] && mapped[4] == -8);
	OK(clReleaseEvent(event));
	OK(clEnqueueUnmapMemObject(queue, a, mapped, 0, NULL, NULL));
	OK(clFinish(queue));

	host[5] = 55;
	sub = clCreateBuffer(context, CL_MEM_USE_HOST_PTR, sizeof(host), host, &err);
	OK(err);
	OK(clEnqueueFillBuffer(queue, sub, pattern, 4, 0, 16, 0, NULL, NULL));
	mapped = clEnqueueMapBuffer(queue, sub, CL_TRUE, CL_MAP_READ, 0, sizeof(host), 0, NULL, NULL,
				    &err);
	OK(err);
	EXPECT(mapped == host && host[5] == 55 && memcmp(host, pattern, 4) == 0);
	OK(clEnqueueUnmapMemObject(queue, sub, mapped, 0, NULL, NULL));
	OK(clFinish(queue));
	OK(clReleaseMemObject(sub));

	OK(clEnqueueMigrateMemObjects(queue, 1, &a, 0, 0, NULL, NULL));
	EXPECT(references(a) == 1);
	OK(clRetainMemObject(a));
	EXPECT(references(a) == 2);
	OK(clReleaseMemObject(a));
	OK(clReleaseMemObject(a));
	OK(clReleaseMemObject(b));
}

static void programs(void)
{
	const char *strings[3] = { source, "__kernel void last(void) {}garbage", "\n" };
	const size_t lengths[3] = { 0, 27, 0 };
	const char *bad = "__kernel void f(void) { undeclared = 1; }\n";
	char text[4096] = "";
	cl_program program, its_program, wrong;
	cl_kernel kernels[8], kernel;
	cl_build_status build_status;
	cl_uint count = 0;
	cl_int err;
	size_t len = 0, group = 0;

	program = clCreateProgramWithSource(context, 3, strings, lengths, &err);
	OK(err);
	OK(clBuildProgram(program, 0, NULL, "-DX=1", NULL, NULL));
	OK(clGetProgramBuildInfo(program, device, CL_PROGRAM_BUILD_STATUS, sizeof(build_status),
				 &build_status, NULL));
	EXPECT(build_status == CL_BUILD_SUCCESS);
	OK(clGetProgramBuildInfo(program, device, CL_PROGRAM_BUILD_OPTIONS, sizeof(text), text, NULL));
	EXPECT(strcmp(text, "-DX=1") == 0);
	OK(clGetProgramInfo(program, CL_PROGRAM_NUM_KERNELS, sizeof(len), &len, NULL));
	EXPECT(len == 5);
	OK(clGetProgramInfo(program, CL_PROGRAM_SOURCE, sizeof(text), text, &len));
	EXPECT(strstr(text, "void last") && !strstr(text, "garbage"));
	OK(clCreateKernelsInProgram(program, 8, kernels, &count));
	EXPECT(count == 5);
	for (cl_uint i = 0; i < count; i++)
		OK(clReleaseKernel(kernels[i]));

	kernel = clCreateKernel(program, "scaled", &err);
	OK(err);
	OK(clGetKernelInfo(kernel, CL_KERNEL_PROGRAM, sizeof(its_program), &its_program, NULL));
	EXPECT(its_program == program);
	OK(clGetKernelInfo(kernel, CL_KERNEL_NUM_ARGS, sizeof(count), &count, NULL));
	EXPECT(count == 4);
	OK(clGetKernelWorkGroupInfo(kernel, device, CL_KERNEL_WORK_GROUP_SIZE, sizeof(group), &group,
				    NULL));
	EXPECT(group >= 1);
	OK(clRetainKernel(kernel));
	OK(clReleaseKernel(kernel));
	OK(clReleaseKernel(kernel));
	OK(clRetainProgram(program));
	OK(clReleaseProgram(program));
	OK(clReleaseProgram(program));

	wrong = clCreateProgramWithSource(context, 1, &bad, NULL, &err);
	OK(err);
	STATUS(clBuildProgram(wrong, 1, &device, NULL, NULL, NULL), CL_BUILD_PROGRAM_FAILURE);
	OK(clGetProgramBuildInfo(wrong, device, CL_PROGRAM_BUILD_LOG, 0, NULL, &len));
	EXPECT(len > 10);
	OK(clReleaseProgram(wrong));
}

static void launches(int argc)
{
	static int out[N];
	const struct pair pair = { 3, 100.0f };
	const size_t n = N, local = 16, offset = 4, less = N - 4;
	const size_t square[2] = { 16, 16 };
	const int value = 7;
	cl_program program = build(source), its_program;
	cl_kernel fill, scaled, isnull, place;
	cl_mem a = buffer(sizeof(out)), b = buffer(sizeof(out));
	cl_command_queue its_queue, unordered;
	cl_event first, second, third;
	cl_ulong start = 0, end = 0;
	cl_int err, type;

	fill = clCreateKernel(program, "fill", &err);
	OK(err);
	scaled = clCreateKernel(program, "scaled", &err);
	OK(err);
	isnull = clCreateKernel(program, "isnull", &err);
	OK(err);
	place = clCreateKernel(program, "place", &err);
	OK(err);
	OK(clGetKernelInfo(fill, CL_KERNEL_PROGRAM, sizeof(its_program), &its_program, NULL));
	EXPECT(its_program == program);

	OK(clSetKernelArg(fill, 0, sizeof(a), &a));
	OK(clSetKernelArg(fill, 1, sizeof(value), &value));
	OK(clEnqueueNDRangeKernel(queue, fill, 1, &offset, &less, NULL, 0, NULL, &first));
	OK(clSetKernelArg(scaled, 0, sizeof(a), &a));
	OK(clSetKernelArg(scaled, 1, sizeof(b), &b));
	OK(clSetKernelArg(scaled, 2, sizeof(pair), &pair));
	OK(clSetKernelArg(scaled, 3, local * sizeof(int), NULL));
	OK(clEnqueueNDRangeKernel(queue, scaled, 1, NULL, &n, &local, 1, &first, &second));
	OK(clEnqueueReadBuffer(queue, b, CL_TRUE, 0, sizeof(out), out, 1, &second, NULL));
	for (int i = 4; i < N; i++)
		if (out[i] != (i + value) * 3 + 100) {
			EXPECT(!"a kernel's result");
			break;
		}
	OK(clGetEventInfo(first, CL_EVENT_COMMAND_QUEUE, sizeof(its_queue), &its_queue, NULL));
	EXPECT(its_queue == queue);
	OK(clGetEventInfo(first, CL_EVENT_COMMAND_TYPE, sizeof(type), &type, NULL));
	EXPECT(type == CL_COMMAND_NDRANGE_KERNEL);
	OK(clGetEventProfilingInfo(first, CL_PROFILING_COMMAND_START, sizeof(start), &start, NULL));
	OK(clGetEventProfilingInfo(first, CL_PROFILING_COMMAND_END, sizeof(end), &end, NULL));
	EXPECT(start > 0 && end >= start);
	OK(clRetainEvent(first));
	OK(clReleaseEvent(first));
	OK(clReleaseEvent(first));
	OK(clReleaseEvent(second));

	OK(clSetKernelArg(isnull, 0, sizeof(cl_mem), NULL));
	OK(clSetKernelArg(isnull, 1, sizeof(b), &b));
	OK(clEnqueueTask(queue, isnull, 0, NULL, NULL));
	OK(clEnqueueReadBuffer(queue, b, CL_TRUE, 0, sizeof(int), out, 0, NULL, NULL));
	EXPECT(out[0] == 1);

	unordered = clCreateCommandQueue(context, device, CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE,
					 &err);
	OK(err);
	memset(out, 0, sizeof(out));
	OK(clSetKernelArg(place, 0, sizeof(b), &b));
	OK(clEnqueueWriteBuffer(unordered, b, CL_FALSE, 0, sizeof(out), out, 0, NULL, &first));
	OK(clEnqueueNDRangeKernel(unordered, place, 2, NULL, square, NULL, 1, &first, &second));
	OK(clEnqueueBarrierWithWaitList(unordered, 1, &second, NULL));
	OK(clEnqueueNDRangeKernel(unordered, place, 2, NULL, square, NULL, 0, NULL, NULL));
	OK(clEnqueueMarkerWithWaitList(unordered, 0, NULL, &third));
	OK(clEnqueueReadBuffer(unordered, b, CL_FALSE, 0, sizeof(out), out, 1, &third, NULL));
	OK(clFinish(unordered));
	EXPECT(out[0] == 2 && out[255] == 2 && out[256] == 0);
	OK(clReleaseEvent(third));
	OK(clEnqueueMarker(queue, &third));
	OK(clEnqueueBarrier(queue));
	/* PoCL ends the process at this one. */
	if (argc == 1)
		OK(clEnqueueWaitForEvents(queue, 1, &third));
	OK(clRetainCommandQueue(unordered));
	OK(clReleaseCommandQueue(unordered));
	OK(clFinish(queue));
	OK(clReleaseCommandQueue(unordered));
	OK(clReleaseEvent(first));
	OK(clReleaseEvent(second));
	OK(clReleaseEvent(third));
	OK(clReleaseKernel(fill));
	OK(clReleaseKernel(scaled));
	OK(clReleaseKernel(isnull));
	OK(clReleaseKernel(place));
	OK(clReleaseMemObject(a));
	OK(clReleaseMemObject(b));
	OK(clReleaseProgram(program));
}

/* A kernel keeps what its arguments are set to, and each launch has what was set before it. */
static void relaunches(void)
{
	static const int values[] = { 1, 2, 2, 3 };
	const size_t n = N;
	cl_program program = build(source);
	cl_mem buffers[2] = { buffer(N * sizeof(int)), buffer(N * sizeof(int)) }, gone;
	cl_kernel fill;
	cl_int err, out;
	int ignored = -1;

	fill = clCreateKernel(program, "fill", &err);
	OK(err);
	for (int i = 0; i < 4; i++) {
		OK(clSetKernelArg(fill, 0, sizeof(cl_mem), &buffers[i % 2]));
		OK(clSetKernelArg(fill, 1, sizeof(int), &ignored));
		OK(clSetKernelArg(fill, 1, sizeof(int), &values[i]));
		OK(clEnqueueNDRangeKernel(queue, fill, 1, NULL, &n, NULL, 0, NULL, NULL));
		OK(clEnqueueReadBuffer(queue, buffers[i % 2], CL_TRUE, 0, 4, &out, 0, NULL, NULL));
		EXPECT(out == values[i]);
	}
	/* The argument that is not set again is still the second buffer. */
	OK(clSetKernelArg(fill, 1, sizeof(int), &ignored));
	OK(clEnqueueTask(queue, fill, 0, NULL, NULL));
	OK(clEnqueueReadBuffer(queue, buffers[1], CL_TRUE, 0, 4, &out, 0, NULL, NULL));
	EXPECT(out == ignored);
	OK(clEnqueueReadBuffer(queue, buffers[0], CL_TRUE, 0, 4, &out, 0, NULL, NULL));
	EXPECT(out == values[2]);

	/* Set, and released before the kernel that never runs. */
	gone = buffer(16);
	OK(clSetKernelArg(fill, 0, sizeof(gone), &gone));
	OK(clReleaseMemObject(gone));
	OK(clReleaseKernel(fill));
	OK(clReleaseMemObject(buffers[0]));
	OK(clReleaseMemObject(buffers[1]));
	OK(clReleaseProgram(program));
	OK(clFinish(queue));
}

static void binaries(void)
{
	static const size_t n = 4;
	const int value = 5;
	int out[4];
	unsigned char *binary;
	const unsigned char *given;
	cl_program program = build(source), again;
	cl_kernel kernel;
	cl_mem mem = buffer(sizeof(out));
	cl_int status = 1, err;
	size_t len = 0;

	OK(clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof(len), &len, NULL));
	EXPECT(len > 0);
	binary = malloc(len);
	OK(clGetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof(binary), &binary, NULL));
	given = binary;
	again = clCreateProgramWithBinary(context, 1, &device, &len, &given, &status, &err);
	OK(err);
	OK(status);
	OK(clBuildProgram(again, 1, &device, NULL, NULL, NULL));
	kernel = clCreateKernel(again, "fill", &err);
	OK(err);
	OK(clSetKernelArg(kernel, 0, sizeof(mem), &mem));
	OK(clSetKernelArg(kernel, 1, sizeof(value), &value));
	OK(clEnqueueNDRangeKernel(queue, kernel, 1, NULL, &n, NULL, 0, NULL, NULL));
	OK(clEnqueueReadBuffer(queue, mem, CL_TRUE, 0, sizeof(out), out, 0, NULL, NULL));
	EXPECT(out[0] == 5 && out[3] == 8);
	OK(clReleaseKernel(kernel));
	OK(clReleaseProgram(again));
	OK(clReleaseProgram(program));
	OK(clReleaseMemObject(mem));
	free(binary);
}

/* With an argument: less what the vendor's own library lacks. */
int main(int argc, char **argv)
{
	(void)argv;
	open_device();
	queries();
	buffers();
	programs();
	launches(argc);
	relaunches();
	binaries();
	close_device();
	return finish();
}
