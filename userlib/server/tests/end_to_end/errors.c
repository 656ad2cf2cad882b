// SPDX-License-Identifier: Apache-2.0 OR MIT
/* Wrong use: each mistake gets its own status, and nothing else breaks. */
#include "program.h"

static const char source[] =
	"__kernel void set(__global int *out, int value, float4 v, __local int *tmp)\n"
	"{ out[get_global_id(0)] = value; }\n"
	"struct pair { int a, b; };\n"
	"__kernel void sum(__global int *out, struct pair pair)\n"
	"{ out[get_global_id(0)] = pair.a + pair.b; }\n"
	"__kernel void empty(void) {}\n";

/* Something with the first word of an object, as the loader needs, that is none. */
struct fake {
	void *dispatch;
	long rest[7];
};

static struct fake forge(const void *object)
{
	struct fake fake = { 0 };

	memcpy(&fake.dispatch, object, sizeof(fake.dispatch));
	return fake;
}

static void handles(cl_mem mem, cl_kernel kernel)
{
	struct fake fake = forge(queue);
	cl_command_queue wrong = (cl_command_queue)&fake;
	cl_event event;
	cl_uint value;
	cl_int err;

	STATUS(clFinish(wrong), CL_INVALID_COMMAND_QUEUE);
	STATUS(clFinish((cl_command_queue)context), CL_INVALID_COMMAND_QUEUE);
	STATUS(clReleaseMemObject((cl_mem)&fake), CL_INVALID_MEM_OBJECT);
	STATUS(clReleaseMemObject((cl_mem)queue), CL_INVALID_MEM_OBJECT);
	STATUS(clRetainKernel((cl_kernel)mem), CL_INVALID_KERNEL);
	STATUS(clGetEventInfo((cl_event)kernel, CL_EVENT_REFERENCE_COUNT, 4, &value, NULL),
	       CL_INVALID_EVENT);
	STATUS(clEnqueueBarrierWithWaitList(queue, 1, (cl_event *)&mem, NULL),
	       CL_INVALID_EVENT_WAIT_LIST);
	EXPECT(clCreateBuffer((cl_context)&fake, 0, 4, NULL, &err) == NULL);
	STATUS(err, CL_INVALID_CONTEXT);
	EXPECT(clCreateCommandQueue(context, (cl_device_id)&fake, 0, &err) == NULL);
	STATUS(err, CL_INVALID_DEVICE);

	/* Stale ones. */
	OK(clEnqueueMarkerWithWaitList(queue, 0, NULL, &event));
	OK(clFinish(queue));
	OK(clReleaseEvent(event));
	STATUS(clReleaseEvent(event), CL_INVALID_EVENT);
	STATUS(clWaitForEvents(1, &event), CL_INVALID_EVENT);
	STATUS(clEnqueueMarkerWithWaitList(queue, 1, &event, NULL), CL_INVALID_EVENT_WAIT_LIST);
	mem = clCreateBuffer(context, 0, 64, NULL, &err);
	OK(err);
	OK(clReleaseMemObject(mem));
	STATUS(clSetKernelArg(kernel, 0, sizeof(mem), &mem), CL_INVALID_MEM_OBJECT);
	STATUS(clEnqueueFillBuffer(queue, mem, &value, 4, 0, 64, 0, NULL, NULL),
	       CL_INVALID_MEM_OBJECT);
}

static void values(cl_mem mem)
{
	char data[256];
	cl_uint count;
	size_t len;
	cl_int err;
	cl_buffer_region region = { 0, 4096 };
	cl_context_properties unknown[3] = { 0x7777, 1, 0 };
	cl_event event;

	STATUS(clGetPlatformIDs(0, &platform, NULL), CL_INVALID_VALUE);
	STATUS(clGetPlatformIDs(1, NULL, NULL), CL_INVALID_VALUE);
	STATUS(clGetDeviceIDs(platform, CL_DEVICE_TYPE_GPU, 0, NULL, &count), CL_DEVICE_NOT_FOUND);
	STATUS(clGetDeviceIDs(platform, 0x1000, 0, NULL, &count), CL_INVALID_DEVICE_TYPE);
	STATUS(clGetDeviceInfo(device, 0x7fff, 0, NULL, &len), CL_INVALID_VALUE);
	STATUS(clGetDeviceInfo(device, CL_DEVICE_NAME, 1, data, NULL), CL_INVALID_VALUE);
	EXPECT(clCreateContext(unknown, 1, &device, NULL, NULL, &err) == NULL);
	STATUS(err, CL_INVALID_PROPERTY);
	EXPECT(clCreateContext(NULL, 0, &device, NULL, NULL, &err) == NULL);
	STATUS(err, CL_INVALID_VALUE);
	EXPECT(clCreateCommandQueue(context, device, 1 << 20, &err) == NULL);
	STATUS(err, CL_INVALID_VALUE);

	EXPECT(clCreateBuffer(context, 0, 0, NULL, &err) == NULL);
	STATUS(err, CL_INVALID_BUFFER_SIZE);
	EXPECT(clCreateBuffer(context, CL_MEM_COPY_HOST_PTR, 4, NULL, &err) == NULL);
	STATUS(err, CL_INVALID_HOST_PTR);
	EXPECT(clCreateBuffer(context, 0, 4, data, &err) == NULL);
	STATUS(err, CL_INVALID_HOST_PTR);
	EXPECT(clCreateBuffer(context, CL_MEM_READ_ONLY | CL_MEM_WRITE_ONLY, 4, NULL, &err) == NULL);
	STATUS(err, CL_INVALID_VALUE);
	EXPECT(clCreateBuffer(context, 0, SIZE_MAX / 2, NULL, &err) == NULL);
	STATUS(err, CL_INVALID_BUFFER_SIZE);
	EXPECT(clCreateSubBuffer(mem, 0, CL_BUFFER_CREATE_TYPE_REGION, &region, &err) == NULL);
	STATUS(err, CL_INVALID_VALUE);

	STATUS(clEnqueueReadBuffer(queue, mem, CL_TRUE, 200, 100, data, 0, NULL, NULL),
	       CL_INVALID_VALUE);
	STATUS(clEnqueueReadBuffer(queue, mem, CL_TRUE, SIZE_MAX, 2, data, 0, NULL, NULL),
	       CL_INVALID_VALUE);
	STATUS(clEnqueueReadBuffer(queue, mem, CL_TRUE, 0, 16, NULL, 0, NULL, NULL),
	       CL_INVALID_VALUE);
	STATUS(clEnqueueWriteBuffer(queue, mem, CL_FALSE, 0, 257, data, 0, NULL, NULL),
	       CL_INVALID_VALUE);
	STATUS(clEnqueueWriteBuffer(queue, mem, CL_FALSE, 0, 4, data, 1, NULL, NULL),
	       CL_INVALID_EVENT_WAIT_LIST);
	STATUS(clEnqueueMarkerWithWaitList(queue, 1, NULL, NULL), CL_INVALID_EVENT_WAIT_LIST);
	STATUS(clEnqueueMarkerWithWaitList(queue, 0, &event, NULL), CL_INVALID_EVENT_WAIT_LIST);
	STATUS(clEnqueueFillBuffer(queue, mem, data, 3, 0, 6, 0, NULL, NULL), CL_INVALID_VALUE);
	STATUS(clWaitForEvents(0, NULL), CL_INVALID_VALUE);
	STATUS(clEnqueueUnmapMemObject(queue, mem, data, 0, NULL, NULL), CL_INVALID_VALUE);
}

static void programs(void)
{
	static const unsigned char native[64] = "\177ELF";
	static const unsigned char token[48] = "WORMHOLE-PROGRAM0123456789abcdef0123456789abcde";
	static const unsigned char path[48] = "WORMHOLE-PROGRAM../../../../../../../../etc/pass";
	const unsigned char *all[3] = { native, token, path };
	size_t lengths[3] = { sizeof(native), sizeof(token), sizeof(path) };
	const char *none = NULL;
	cl_int err, status;
	cl_program program;

	EXPECT(clCreateProgramWithSource(context, 1, &none, NULL, &err) == NULL);
	STATUS(err, CL_INVALID_VALUE);
	for (int i = 0; i < 3; i++) {
		status = 1;
		EXPECT(clCreateProgramWithBinary(context, 1, &device, &lengths[i], &all[i], &status,
						 &err) == NULL);
		STATUS(err, CL_INVALID_BINARY);
		STATUS(status, CL_INVALID_BINARY);
	}
	program = build(source);
	EXPECT(clCreateKernel(program, "nosuch", &err) == NULL);
	STATUS(err, CL_INVALID_KERNEL_NAME);
	EXPECT(clCreateKernel(program, NULL, &err) == NULL);
	STATUS(err, CL_INVALID_VALUE);
	OK(clReleaseProgram(program));
}

static void arguments(cl_kernel kernel, cl_mem mem)
{
	const float v[4] = { 0 };
	const int value = 1;

	STATUS(clSetKernelArg(kernel, 4, 4, &value), CL_INVALID_ARG_INDEX);
	STATUS(clSetKernelArg(kernel, 0, 4, &value), CL_INVALID_ARG_SIZE);
	STATUS(clSetKernelArg(kernel, 0, sizeof(queue), &queue), CL_INVALID_MEM_OBJECT);
	STATUS(clSetKernelArg(kernel, 1, 8, &mem), CL_INVALID_ARG_SIZE);
	STATUS(clSetKernelArg(kernel, 1, 4, NULL), CL_INVALID_ARG_VALUE);
	STATUS(clSetKernelArg(kernel, 2, 12, v), CL_INVALID_ARG_SIZE);
	STATUS(clSetKernelArg(kernel, 3, 0, NULL), CL_INVALID_ARG_SIZE);
	STATUS(clSetKernelArg(kernel, 3, 4, &value), CL_INVALID_ARG_VALUE);
}

/* The failure of a call that is not waited for comes with the next that is. */
static void posted(cl_kernel kernel, cl_kernel empty, cl_mem mem)
{
	const size_t n = 16, huge = 1 << 20;
	const int value = 1;
	const float v[4] = { 0 };
	int out;
	cl_event event = NULL;

	STATUS(clEnqueueNDRangeKernel(queue, empty, 0, NULL, &n, NULL, 0, NULL, NULL),
	       CL_INVALID_WORK_DIMENSION);
	STATUS(clEnqueueNDRangeKernel(queue, empty, 4, NULL, &n, NULL, 0, NULL, NULL),
	       CL_INVALID_WORK_DIMENSION);
	OK(clEnqueueNDRangeKernel(queue, empty, 1, NULL, &huge, &huge, 0, NULL, &event));
	STATUS(clFinish(queue), CL_INVALID_WORK_GROUP_SIZE);
	OK(clFinish(queue));
	STATUS(clWaitForEvents(1, &event), CL_INVALID_EVENT);
	OK(clReleaseEvent(event));

	/* Arguments are missing. */
	OK(clEnqueueNDRangeKernel(queue, kernel, 1, NULL, &n, NULL, 0, NULL, NULL));
	STATUS(clEnqueueReadBuffer(queue, mem, CL_TRUE, 0, 4, &out, 0, NULL, NULL),
	       CL_INVALID_KERNEL_ARGS);

	OK(clSetKernelArg(kernel, 0, sizeof(mem), &mem));
	OK(clSetKernelArg(kernel, 1, 4, &value));
	OK(clSetKernelArg(kernel, 2, 16, v));
	OK(clSetKernelArg(kernel, 3, 64, NULL));
	OK(clEnqueueNDRangeKernel(queue, kernel, 1, NULL, &n, NULL, 0, NULL, NULL));
	OK(clEnqueueReadBuffer(queue, mem, CL_TRUE, 0, 4, &out, 0, NULL, NULL));
	EXPECT(out == 1);
}

static void native(void *args)
{
	(void)args;
}

/* What no device of the server's can do. */
static void refused(cl_mem mem)
{
	cl_command_queue_properties before = 77;
	cl_device_exec_capabilities can = 0;
	const void *location = &mem;
	cl_int args = 0;

	OK(clGetDeviceInfo(device, CL_DEVICE_EXECUTION_CAPABILITIES, sizeof(can), &can, NULL));
	EXPECT(can == CL_EXEC_KERNEL);
	STATUS(clEnqueueNativeKernel(queue, native, &args, sizeof(args), 0, NULL, NULL, 0, NULL, NULL),
	       CL_INVALID_OPERATION);
	STATUS(clEnqueueNativeKernel(queue, native, NULL, 0, 0, NULL, NULL, 0, NULL, NULL),
	       CL_INVALID_OPERATION);
	STATUS(clEnqueueNativeKernel(queue, native, &mem, sizeof(mem), 1, &mem, &location, 0, NULL,
				     NULL),
	       CL_INVALID_OPERATION);
	STATUS(clEnqueueNativeKernel(NULL, native, NULL, 0, 0, NULL, NULL, 0, NULL, NULL),
	       CL_INVALID_COMMAND_QUEUE);
	STATUS(clEnqueueNativeKernel(queue, NULL, NULL, 0, 0, NULL, NULL, 0, NULL, NULL),
	       CL_INVALID_VALUE);
	STATUS(clEnqueueNativeKernel(queue, native, NULL, 4, 0, NULL, NULL, 0, NULL, NULL),
	       CL_INVALID_VALUE);
	STATUS(clEnqueueNativeKernel(queue, native, &args, 0, 0, NULL, NULL, 0, NULL, NULL),
	       CL_INVALID_VALUE);
	STATUS(clEnqueueNativeKernel(queue, native, NULL, 0, 1, &mem, &location, 0, NULL, NULL),
	       CL_INVALID_VALUE);
	STATUS(clEnqueueNativeKernel(queue, native, &mem, 8, 1, NULL, &location, 0, NULL, NULL),
	       CL_INVALID_VALUE);
	STATUS(clEnqueueNativeKernel(queue, native, &mem, 8, 1, &mem, NULL, 0, NULL, NULL),
	       CL_INVALID_VALUE);
	STATUS(clEnqueueNativeKernel(queue, native, &mem, 8, 1, (cl_mem *)&queue, &location, 0, NULL,
				     NULL),
	       CL_INVALID_MEM_OBJECT);
	STATUS(clEnqueueNativeKernel(queue, native, NULL, 0, 0, NULL, NULL, 1, NULL, NULL),
	       CL_INVALID_EVENT_WAIT_LIST);
	STATUS(clSetCommandQueueProperty(queue, CL_QUEUE_PROFILING_ENABLE, CL_FALSE, &before),
	       CL_INVALID_OPERATION);
	STATUS(clSetCommandQueueProperty(NULL, CL_QUEUE_PROFILING_ENABLE, CL_FALSE, &before),
	       CL_INVALID_COMMAND_QUEUE);
	EXPECT(before == 77);
}

/* A buffer that a launch uses is destroyed after it, whenever it was released. */
static void released(cl_program program, cl_mem mem)
{
	const size_t n = 16;
	const struct {
		int a, b;
	} pair = { 3, 4 };
	int out = 0;
	cl_int err;
	cl_kernel kernel = clCreateKernel(program, "sum", &err);
	cl_mem gone;

	OK(err);
	gone = clCreateBuffer(context, CL_MEM_READ_WRITE, 256, NULL, &err);
	OK(err);
	OK(clSetKernelArg(kernel, 1, sizeof(pair), &pair));
	OK(clSetKernelArg(kernel, 0, sizeof(gone), &gone));
	OK(clReleaseMemObject(gone));
	OK(clEnqueueNDRangeKernel(queue, kernel, 1, NULL, &n, NULL, 0, NULL, NULL));
	OK(clFinish(queue));
	STATUS(clSetKernelArg(kernel, 0, sizeof(gone), &gone), CL_INVALID_MEM_OBJECT);
	OK(clSetKernelArg(kernel, 0, sizeof(mem), &mem));
	OK(clEnqueueNDRangeKernel(queue, kernel, 1, NULL, &n, NULL, 0, NULL, NULL));
	OK(clEnqueueReadBuffer(queue, mem, CL_TRUE, 0, 4, &out, 0, NULL, NULL));
	EXPECT(out == 7);
	OK(clReleaseKernel(kernel));
}

static void not_forwarded(void)
{
	EXPECT(clGetExtensionFunctionAddressForPlatform(platform, "clNoSuchFunction") == NULL);
}

int main(void)
{
	cl_program program;
	cl_kernel kernel, empty;
	cl_mem mem;
	cl_int err;

	open_device();
	program = build(source);
	kernel = clCreateKernel(program, "set", &err);
	OK(err);
	empty = clCreateKernel(program, "empty", &err);
	OK(err);
	mem = clCreateBuffer(context, CL_MEM_READ_WRITE, 256, NULL, &err);
	OK(err);
	handles(mem, kernel);
	values(mem);
	programs();
	arguments(kernel, mem);
	posted(kernel, empty, mem);
	refused(mem);
	released(program, mem);
	not_forwarded();
	OK(clReleaseMemObject(mem));
	OK(clReleaseKernel(kernel));
	OK(clReleaseKernel(empty));
	/* The program is still needed by nobody, and may go before its context. */
	OK(clReleaseProgram(program));
	OK(clReleaseContext(context));
	OK(clFinish(queue));
	OK(clReleaseCommandQueue(queue));
	return finish();
}
