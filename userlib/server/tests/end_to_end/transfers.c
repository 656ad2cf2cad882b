// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * Moves data of every size that goes another way, and more than there is memory for. It also
 * passes on the vendor's own library, which tests the test.
 */
#define _POSIX_C_SOURCE 199309L
#include <time.h>

#include "program.h"

#define LARGEST (5u << 20)
#define MANY 40
#define EACH 100352u

static unsigned char *data, *back;

static cl_mem buffer(size_t bytes)
{
	cl_int err;
	cl_mem mem = clCreateBuffer(context, CL_MEM_READ_WRITE, bytes, NULL, &err);

	OK(err);
	return mem;
}

static void pattern(size_t size, unsigned seed)
{
	for (size_t i = 0; i < size; i++)
		data[i] = (unsigned char)((i + seed) % 251);
}

static void *map(cl_mem mem, cl_bool blocking, cl_map_flags flags, size_t offset, size_t size)
{
	cl_int err;
	void *mapped = clEnqueueMapBuffer(queue, mem, blocking, flags, offset, size, 0, NULL, NULL, &err);

	OK(err);
	if (!blocking)
		OK(clFinish(queue));
	return mapped;
}

/* There and back, at an offset, and nothing beside it. */
static void size(cl_bool blocking, size_t size)
{
	cl_mem mem = buffer(size + 8);
	unsigned char around[4] = { 0 }, marks[4] = { 1, 2, 3, 4 }, *mapped;

	pattern(size, (unsigned)size);
	memset(back, 0, size + 1);
	OK(clEnqueueWriteBuffer(queue, mem, CL_TRUE, size + 3, 4, marks, 0, NULL, NULL));
	OK(clEnqueueWriteBuffer(queue, mem, blocking, 3, size, data, 0, NULL, NULL));
	if (blocking) {
		/* It is the program's again. */
		memset(data, 255, size);
		pattern(size, (unsigned)size);
	}
	OK(clEnqueueReadBuffer(queue, mem, blocking, 3, size, back, 0, NULL, NULL));
	if (!blocking)
		OK(clFinish(queue));
	EXPECT(memcmp(data, back, size) == 0 && back[size] == 0);
	pattern(size, (unsigned)size + 1);
	mapped = map(mem, blocking, CL_MAP_WRITE_INVALIDATE_REGION, 3, size);
	memcpy(mapped, data, size);
	OK(clEnqueueUnmapMemObject(queue, mem, mapped, 0, NULL, NULL));
	mapped = map(mem, blocking, CL_MAP_READ | CL_MAP_WRITE, 3, size);
	EXPECT(memcmp(mapped, data, size) == 0);
	mapped[size - 1] = data[size - 1] = 77;
	OK(clEnqueueUnmapMemObject(queue, mem, mapped, 0, NULL, NULL));
	mapped = map(mem, blocking, CL_MAP_READ, 3, size);
	EXPECT(memcmp(mapped, data, size) == 0);
	OK(clEnqueueUnmapMemObject(queue, mem, mapped, 0, NULL, NULL));
	OK(clEnqueueReadBuffer(queue, mem, CL_TRUE, size + 3, 4, around, 0, NULL, NULL));
	EXPECT(memcmp(around, marks, 4) == 0);
	OK(clReleaseMemObject(mem));
}

/* More at once than can be under way in memory that both sides have. */
static void many(void)
{
	cl_mem mem = buffer(MANY * EACH);
	cl_event events[MANY];
	cl_int status;

	for (int round = 0; round < 3; round++) {
		pattern(MANY * EACH, round);
		memset(back, 0, MANY * EACH);
		for (int i = 0; i < MANY; i++)
			OK(clEnqueueWriteBuffer(queue, mem, CL_FALSE, i * EACH, EACH,
						data + i * EACH, 0, NULL, &events[i]));
		for (int i = 0; i < MANY; i++)
			OK(clEnqueueReadBuffer(queue, mem, CL_FALSE, i * EACH, EACH,
					       back + i * EACH, 0, NULL, NULL));
		OK(clFinish(queue));
		EXPECT(memcmp(data, back, MANY * EACH) == 0);
		for (int i = 0; i < MANY; i++) {
			OK(clGetEventInfo(events[i], CL_EVENT_COMMAND_EXECUTION_STATUS,
					  sizeof(status), &status, NULL));
			EXPECT(status == CL_COMPLETE);
			OK(clReleaseEvent(events[i]));
		}
	}
	OK(clReleaseMemObject(mem));
}

static cl_ulong now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ull + time.tv_nsec;
}

static cl_ulong profile(cl_event event, cl_profiling_info what)
{
	cl_ulong time = 0;

	OK(clGetEventProfilingInfo(event, what, sizeof(time), &time, NULL));
	return time;
}

/* The event of a command is that of all of it: it takes most of the time that the call does, but
 * for a call that was interrupted. */
static void event_of_all(cl_bool write)
{
	cl_mem mem = buffer(LARGEST);
	cl_ulong took, times[4];
	cl_command_type type;
	cl_event event;
	int tries = 100;

	do {
		took = now();
		if (write)
			OK(clEnqueueWriteBuffer(queue, mem, CL_TRUE, 0, LARGEST, data, 0, NULL, &event));
		else
			OK(clEnqueueReadBuffer(queue, mem, CL_TRUE, 0, LARGEST, back, 0, NULL, &event));
		took = now() - took;
		for (int i = 0; i < 4; i++)
			times[i] = profile(event, CL_PROFILING_COMMAND_QUEUED + i);
		EXPECT(times[0] <= times[1] && times[1] <= times[2] && times[2] <= times[3]);
		OK(clGetEventInfo(event, CL_EVENT_COMMAND_TYPE, sizeof(type), &type, NULL));
		EXPECT(type == (write ? CL_COMMAND_WRITE_BUFFER : CL_COMMAND_READ_BUFFER));
		OK(clReleaseEvent(event));
	} while (times[3] - times[0] < took / 4 && --tries);
	EXPECT(tries);
	OK(clReleaseMemObject(mem));
}

/* Buffers of memory of the host are mapped where they are, which both sides have: nothing moves. */
static void host_memory(void)
{
	const size_t size = 512 << 10;
	const unsigned char fill[4] = { 9, 8, 7, 6 };
	const cl_mem_flags flags = CL_MEM_READ_WRITE | CL_MEM_ALLOC_HOST_PTR;
	cl_buffer_region part = { 4096, 8192 };
	cl_mem first, second, sub;
	unsigned char *mapped, *again;
	cl_command_type type;
	cl_event event;
	cl_int err;

	pattern(size, 5);
	for (int round = 0; round < 4; round++) {
		first = clCreateBuffer(context, flags, size, NULL, &err);
		OK(err);
		second = clCreateBuffer(context, flags | CL_MEM_COPY_HOST_PTR, size, data, &err);
		OK(err);
		OK(clEnqueueFillBuffer(queue, first, fill, 4, 0, size, 0, NULL, NULL));
		mapped = clEnqueueMapBuffer(queue, first, CL_FALSE, CL_MAP_READ | CL_MAP_WRITE, 8, size - 8,
					    0, NULL, &event, &err);
		OK(err);
		OK(clWaitForEvents(1, &event));
		OK(clGetEventInfo(event, CL_EVENT_COMMAND_TYPE, sizeof(type), &type, NULL));
		EXPECT(type == CL_COMMAND_MAP_BUFFER);
		OK(clReleaseEvent(event));
		EXPECT(memcmp(mapped, fill, 4) == 0 && memcmp(mapped + size - 12, fill, 4) == 0);
		memcpy(mapped + 8, "changed", 8);
		again = map(first, CL_TRUE, CL_MAP_READ, 16, 8);
		EXPECT(again == mapped + 8 && memcmp(again, "changed", 8) == 0);
		OK(clEnqueueUnmapMemObject(queue, first, again, 0, NULL, NULL));
		OK(clEnqueueUnmapMemObject(queue, first, mapped, 0, NULL, &event));
		OK(clWaitForEvents(1, &event));
		OK(clGetEventInfo(event, CL_EVENT_COMMAND_TYPE, sizeof(type), &type, NULL));
		EXPECT(type == CL_COMMAND_UNMAP_MEM_OBJECT);
		OK(clReleaseEvent(event));

		mapped = map(second, CL_TRUE, CL_MAP_READ, 0, size);
		EXPECT(memcmp(mapped, data, size) == 0);
		OK(clEnqueueUnmapMemObject(queue, second, mapped, 0, NULL, NULL));
		OK(clEnqueueCopyBuffer(queue, first, second, 0, 4096, 64, 0, NULL, NULL));
		sub = clCreateSubBuffer(second, CL_MEM_READ_WRITE, CL_BUFFER_CREATE_TYPE_REGION, &part, &err);
		OK(err);
		mapped = map(sub, CL_TRUE, CL_MAP_READ, 8, 64);
		EXPECT(memcmp(mapped + 8, "changed", 8) == 0 && mapped[56] == data[4096 + 64]);
		OK(clEnqueueUnmapMemObject(queue, sub, mapped, 0, NULL, NULL));
		OK(clReleaseMemObject(sub));
		OK(clReleaseMemObject(first));
		OK(clReleaseMemObject(second));
		OK(clFinish(queue));
		/* It is known by now that their memory is free again. */
		OK(clFinish(queue));
	}
}

/* Transfers that are refused need memory no longer: there is always some for the next one. */
static void refused(void)
{
	cl_int err;
	cl_context other = clCreateContext(NULL, 1, &device, NULL, NULL, &err);
	cl_command_queue its = clCreateCommandQueue(other, device, 0, &err);
	cl_mem mem = buffer(EACH);

	OK(err);
	for (int i = 0; i < MANY; i++) {
		OK(clEnqueueWriteBuffer(its, mem, CL_FALSE, 0, EACH, data, 0, NULL, NULL));
		STATUS(clFinish(its), CL_INVALID_CONTEXT);
		OK(clEnqueueReadBuffer(its, mem, CL_FALSE, 0, EACH, back, 0, NULL, NULL));
		STATUS(clFinish(its), CL_INVALID_CONTEXT);
		OK(clFinish(its));
	}
	OK(clReleaseCommandQueue(its));
	OK(clReleaseContext(other));
	OK(clReleaseMemObject(mem));
}

/*
 * What the argument says: "sizes"; "host", and "events", which both want memory that both sides have; or
 * "refused", which the vendor's own library does at once.
 */
int main(int argc, char **argv)
{
	static const size_t sizes[] = {
		1, 2047, 2048, 4096, 4097, EACH, 256u << 10, (256u << 10) + 1, 1u << 20, 3u << 20, LARGEST,
	};

	data = malloc(LARGEST + 1);
	back = malloc(LARGEST + 1);
	open_device();
	if (argc == 2 && strcmp(argv[1], "sizes") == 0) {
		for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
			size(CL_TRUE, sizes[i]);
			size(CL_FALSE, sizes[i]);
		}
		many();
	} else if (argc == 2 && strcmp(argv[1], "events") == 0) {
		event_of_all(CL_TRUE);
		event_of_all(CL_FALSE);
	} else if (argc == 2 && strcmp(argv[1], "host") == 0) {
		host_memory();
	} else {
		refused();
	}
	OK(clReleaseCommandQueue(queue));
	OK(clReleaseContext(context));
	return finish();
}
