/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* usage: amounts objects|calls|large: much of something, all of it released. */
#include "program.h"

static const char source[] =
	"__kernel void add(__global int *p, int value) { p[get_global_id(0)] += value; }\n";

#define EACH 1000

static void objects(void)
{
	static cl_mem buffers[EACH], parts[EACH];
	static cl_kernel kernels[EACH];
	static cl_program programs[EACH];
	static cl_event events[EACH];
	static cl_sampler samplers[EACH];
	static cl_command_queue queues[EACH / 10];
	static cl_context contexts[EACH / 10];
	const char *text = source;
	cl_buffer_region region = { 0, 64 };
	cl_program program = build(source);
	cl_int value, err;

	for (int i = 0; i < EACH; i++) {
		buffers[i] = clCreateBuffer(context, CL_MEM_READ_WRITE, 64, NULL, &err);
		OK(err);
		parts[i] = clCreateSubBuffer(buffers[i], 0, CL_BUFFER_CREATE_TYPE_REGION, &region,
					     &err);
		OK(err);
		kernels[i] = clCreateKernel(program, "add", &err);
		OK(err);
		programs[i] = clCreateProgramWithSource(context, 1, &text, NULL, &err);
		OK(err);
		samplers[i] = clCreateSampler(context, CL_FALSE, CL_ADDRESS_CLAMP, CL_FILTER_NEAREST,
					      &err);
		OK(err);
		OK(clEnqueueFillBuffer(queue, buffers[i], &i, sizeof(i), 0, 64, 0, NULL, &events[i]));
	}
	for (int i = 0; i < EACH / 10; i++) {
		queues[i] = clCreateCommandQueue(context, device, 0, &err);
		OK(err);
		contexts[i] = clCreateContext(NULL, 1, &device, NULL, NULL, &err);
		OK(err);
	}
	OK(clWaitForEvents(EACH, events));
	/* Each is still what it was. */
	for (int i = 0; i < EACH; i++) {
		value = -1;
		OK(clEnqueueReadBuffer(queues[i % (EACH / 10)], parts[i], CL_TRUE, 60, 4, &value, 0,
				       NULL, NULL));
		EXPECT(value == i);
	}
	for (int i = EACH - 1; i >= 0; i--) {
		OK(clReleaseMemObject(buffers[i]));
		OK(clReleaseMemObject(parts[i]));
		OK(clReleaseKernel(kernels[i]));
		OK(clReleaseProgram(programs[i]));
		OK(clReleaseSampler(samplers[i]));
		OK(clReleaseEvent(events[i]));
	}
	for (int i = 0; i < EACH / 10; i++) {
		OK(clReleaseCommandQueue(queues[i]));
		OK(clReleaseContext(contexts[i]));
	}
	OK(clReleaseProgram(program));
}

/* A million calls, most of them of arguments, of which a launch takes the last. */
static void calls(void)
{
	enum { ROUNDS = 1000, ARGUMENTS = 495 };
	const size_t one = 1;
	cl_program program = build(source);
	cl_mem sum = clCreateBuffer(context, CL_MEM_READ_WRITE, sizeof(cl_int), NULL, NULL);
	cl_kernel kernel = clCreateKernel(program, "add", NULL);
	cl_int value = 0, expected = 0;

	OK(clEnqueueFillBuffer(queue, sum, &value, sizeof(value), 0, sizeof(value), 0, NULL, NULL));
	for (int round = 0; round < ROUNDS; round++) {
		cl_mem scratch;
		cl_event event;
		cl_int err;

		for (value = 1; value <= ARGUMENTS; value++) {
			OK(clSetKernelArg(kernel, 0, sizeof(sum), &sum));
			OK(clSetKernelArg(kernel, 1, sizeof(value), &value));
		}
		expected += ARGUMENTS;
		OK(clEnqueueNDRangeKernel(queue, kernel, 1, NULL, &one, NULL, 0, NULL, &event));
		scratch = clCreateBuffer(context, CL_MEM_READ_WRITE, 4096, NULL, &err);
		OK(err);
		OK(clEnqueueCopyBuffer(queue, sum, scratch, 0, 64, 4, 1, &event, NULL));
		OK(clReleaseEvent(event));
		OK(clEnqueueMarkerWithWaitList(queue, 0, NULL, &event));
		OK(clEnqueueBarrier(queue));
		OK(clWaitForEvents(1, &event));
		OK(clReleaseEvent(event));
		OK(clReleaseMemObject(scratch));
		OK(clFinish(queue));
	}
	OK(clEnqueueReadBuffer(queue, sum, CL_TRUE, 0, sizeof(value), &value, 0, NULL, NULL));
	EXPECT(value == expected);
	OK(clReleaseKernel(kernel));
	OK(clReleaseMemObject(sum));
	OK(clReleaseProgram(program));
}

/* More than 32 bits can say; the device's memory is not touched but where it is written. */
static void large(void)
{
	const size_t four_gib = (size_t)1 << 32, size = four_gib + (4 << 20);
	static int data[1 << 18], back[1 << 18];
	const cl_uchar byte = 0xa5;
	cl_buffer_region region = { four_gib + (1 << 20), 1 << 20 };
	cl_ulong longest = 0;
	size_t told = 0;
	cl_mem mem, part;
	int *mapped;
	cl_int err;

	OK(clGetDeviceInfo(device, CL_DEVICE_MAX_MEM_ALLOC_SIZE, sizeof(longest), &longest, NULL));
	if (longest < size) {
		printf("skipped: the device has buffers of %llu bytes at most\n",
		       (unsigned long long)longest);
		exit(0);
	}
	mem = clCreateBuffer(context, CL_MEM_READ_WRITE, size, NULL, &err);
	OK(err);
	if (err)
		return;
	OK(clGetMemObjectInfo(mem, CL_MEM_SIZE, sizeof(told), &told, NULL));
	EXPECT(told == size);
	for (int i = 0; i < 1 << 18; i++)
		data[i] = i * 5 + 1;
	/* Across the border, and beyond it. */
	OK(clEnqueueWriteBuffer(queue, mem, CL_FALSE, four_gib - 4096, sizeof(data), data, 0, NULL,
				NULL));
	OK(clEnqueueCopyBuffer(queue, mem, mem, four_gib - 4096, four_gib + (1 << 20), sizeof(data), 0,
			       NULL, NULL));
	OK(clEnqueueReadBuffer(queue, mem, CL_TRUE, four_gib - 4096, sizeof(back), back, 0, NULL,
			       NULL));
	EXPECT(memcmp(data, back, sizeof(data)) == 0);
	memset(back, 0, sizeof(back));
	part = clCreateSubBuffer(mem, 0, CL_BUFFER_CREATE_TYPE_REGION, &region, &err);
	OK(err);
	OK(clEnqueueReadBuffer(queue, part, CL_TRUE, 0, sizeof(back), back, 0, NULL, NULL));
	EXPECT(memcmp(data, back, sizeof(data)) == 0);
	OK(clEnqueueFillBuffer(queue, mem, &byte, 1, four_gib + (3 << 20), 1 << 20, 0, NULL, NULL));
	mapped = clEnqueueMapBuffer(queue, mem, CL_TRUE, CL_MAP_READ, four_gib + (3 << 20), 1 << 20, 0,
				    NULL, NULL, &err);
	OK(err);
	EXPECT(mapped && mapped[0] == (int)0xa5a5a5a5 && mapped[(1 << 18) - 1] == (int)0xa5a5a5a5);
	OK(clEnqueueUnmapMemObject(queue, mem, mapped, 0, NULL, NULL));
	/* What 32 bits would make of it is another place. */
	OK(clEnqueueReadBuffer(queue, mem, CL_TRUE, 3 << 20, 4096, back, 0, NULL, NULL));
	EXPECT(back[0] != (int)0xa5a5a5a5);
	STATUS(clEnqueueReadBuffer(queue, mem, CL_TRUE, size, 1, back, 0, NULL, NULL),
	       CL_INVALID_VALUE);
	OK(clReleaseMemObject(part));
	OK(clReleaseMemObject(mem));
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	open_device();
	if (strcmp(argv[1], "objects") == 0)
		objects();
	else if (strcmp(argv[1], "calls") == 0)
		calls();
	else
		large();
	close_device();
	return finish();
}
