// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * Eight threads on one context make a number of calls of all sorts and check what each returns. Everything is released,
 * so whoever counts objects counts none at the end.
 *
 * usage: stress [-n CALLS]
 */
#include "../../samples/sample.h"
#include <pthread.h>

#define THREADS 8
#define ELEMENTS 64
#define BYTES (ELEMENTS * sizeof(cl_int))

static const char source[] =
	"__kernel void stir(__global int *data, __global int *total, int factor, int summand)\n"
	"{\n"
	"	size_t i = get_global_id(0);\n"
	"	data[i] = data[i] * factor + summand;\n"
	"	if (i == 0)\n"
	"		atomic_inc(total);\n"
	"}\n";

struct worker {
	pthread_t thread;
	struct sample *s;
	cl_mem total;
	size_t calls, made;
	int number;
	cl_int launches;
};

static void fail(const struct worker *w, const char *what, long is, long expected)
{
	fprintf(stderr, "stress: thread %d, call %zu: %s: %ld, not %ld\n", w->number, w->made, what, is, expected);
	exit(EXIT_FAILURE);
}

static void expect(struct worker *w, const char *what, long is, long expected)
{
	w->made++;
	if (is != expected)
		fail(w, what, is, expected);
}

#define STATUS(call, status) expect(w, #call, call, status)
#define OK(call) STATUS(call, CL_SUCCESS)
/* A call that makes something and leaves its status in `err`. */
#define MADE(object, call)                                \
	do {                                              \
		object = call;                            \
		expect(w, #call, err, CL_SUCCESS);        \
	} while (0)

static void check_data(const struct worker *w, const cl_int *data, cl_int first, cl_int step)
{
	for (int i = 0; i < ELEMENTS; i++)
		if (data[i] != first + i * step)
			fail(w, "an element", data[i], first + i * step);
}

/* Calls whose failure is known beforehand. */
static void refused(struct worker *w, cl_command_queue queue, cl_mem mem, cl_kernel kernel)
{
	cl_int data[ELEMENTS], err;

	STATUS(clEnqueueReadBuffer(queue, mem, CL_TRUE, BYTES, 4, data, 0, NULL, NULL), CL_INVALID_VALUE);
	STATUS(clSetKernelArg(kernel, 4, sizeof(cl_int), data), CL_INVALID_ARG_INDEX);
	STATUS(clEnqueueMarkerWithWaitList(queue, 1, NULL, NULL), CL_INVALID_EVENT_WAIT_LIST);
	clCreateBuffer(w->s->context, 0, 0, NULL, &err);
	expect(w, "clCreateBuffer of nothing", err, CL_INVALID_BUFFER_SIZE);
}

/* Objects that live for a round. */
static void objects(struct worker *w, cl_command_queue queue, cl_int pattern)
{
	cl_buffer_region half = { BYTES / 2, BYTES / 2 };
	cl_mem mem, part;
	cl_uint references = 0;
	size_t size = 0;
	cl_int *mapped, err;

	MADE(mem, clCreateBuffer(w->s->context, CL_MEM_READ_WRITE, BYTES, NULL, &err));
	MADE(part, clCreateSubBuffer(mem, 0, CL_BUFFER_CREATE_TYPE_REGION, &half, &err));
	OK(clRetainMemObject(part));
	OK(clGetMemObjectInfo(part, CL_MEM_REFERENCE_COUNT, sizeof(references), &references, NULL));
	if (references != 2)
		fail(w, "references", references, 2);
	OK(clReleaseMemObject(part));
	OK(clGetMemObjectInfo(part, CL_MEM_SIZE, sizeof(size), &size, NULL));
	if (size != BYTES / 2)
		fail(w, "a sub-buffer's size", (long)size, BYTES / 2);
	OK(clEnqueueFillBuffer(queue, mem, &pattern, sizeof(pattern), 0, BYTES, 0, NULL, NULL));
	MADE(mapped, clEnqueueMapBuffer(queue, part, CL_TRUE, CL_MAP_READ | CL_MAP_WRITE, 0, BYTES / 2, 0, NULL, NULL,
					&err));
	if (mapped[1] != pattern)
		fail(w, "a mapped element", mapped[1], pattern);
	mapped[1] = ~pattern;
	OK(clEnqueueUnmapMemObject(queue, part, mapped, 0, NULL, NULL));
	OK(clEnqueueReadBuffer(queue, mem, CL_TRUE, BYTES / 2 + sizeof(cl_int), sizeof(err), &err, 0, NULL, NULL));
	if (err != ~pattern)
		fail(w, "an element that was mapped", err, ~pattern);
	OK(clReleaseMemObject(mem));
	OK(clReleaseMemObject(part));
}

static void *work(void *argument)
{
	struct worker *w = argument;
	const size_t global = ELEMENTS;
	cl_int in[ELEMENTS], out[ELEMENTS], err;
	cl_command_queue queue;
	cl_kernel kernel;
	cl_mem data, copy;

	MADE(queue, clCreateCommandQueue(w->s->context, w->s->device, 0, &err));
	MADE(kernel, clCreateKernel(w->s->program, "stir", &err));
	MADE(data, clCreateBuffer(w->s->context, CL_MEM_READ_WRITE, BYTES, NULL, &err));
	MADE(copy, clCreateBuffer(w->s->context, CL_MEM_READ_WRITE, BYTES, NULL, &err));
	for (cl_int round = 0; w->made < w->calls; round++) {
		cl_int factor = round % 7 + 2, summand = w->number * 1000 + round % 1000, status = 1;
		cl_event events[3];

		for (int i = 0; i < ELEMENTS; i++)
			in[i] = i;
		OK(clEnqueueWriteBuffer(queue, data, CL_FALSE, 0, BYTES, in, 0, NULL, &events[0]));
		OK(clSetKernelArg(kernel, 0, sizeof(data), &data));
		OK(clSetKernelArg(kernel, 1, sizeof(w->total), &w->total));
		/* Only the last of them counts. */
		for (cl_int i = 0; i < 40; i++)
			OK(clSetKernelArg(kernel, 2 + i % 2, sizeof(i), &i));
		OK(clSetKernelArg(kernel, 2, sizeof(factor), &factor));
		OK(clSetKernelArg(kernel, 3, sizeof(summand), &summand));
		OK(clEnqueueNDRangeKernel(queue, kernel, 1, NULL, &global, NULL, 1, events, &events[1]));
		w->launches++;
		OK(clEnqueueCopyBuffer(queue, data, copy, 0, 0, BYTES, 1, &events[1], NULL));
		OK(clEnqueueReadBuffer(queue, copy, CL_FALSE, 0, BYTES, out, 0, NULL, &events[2]));
		OK(clFlush(queue));
		OK(clWaitForEvents(1, &events[2]));
		check_data(w, out, summand, factor);
		OK(clGetEventInfo(events[2], CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof(status), &status, NULL));
		if (status != CL_COMPLETE)
			fail(w, "an event's status", status, CL_COMPLETE);
		for (int i = 0; i < 3; i++)
			OK(clReleaseEvent(events[i]));
		if (round % 4 == w->number % 4)
			objects(w, queue, summand);
		if (round % 16 == w->number)
			refused(w, queue, data, kernel);
		OK(clFinish(queue));
	}
	OK(clReleaseMemObject(data));
	OK(clReleaseMemObject(copy));
	OK(clReleaseKernel(kernel));
	OK(clReleaseCommandQueue(queue));
	return NULL;
}

int main(int argc, char **argv)
{
	static struct worker workers[THREADS];
	size_t calls = 1000000, made = 0;
	cl_int launches = 0, total = 0, err;
	struct sample s;
	cl_mem counter;

	options(argc, argv, &calls, NULL);
	sample_open(&s);
	check(clReleaseKernel(sample_kernel(&s, source, "stir")), "clReleaseKernel");
	counter = clCreateBuffer(s.context, CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR, sizeof(total), &total, &err);
	check(err, "clCreateBuffer");
	for (int i = 0; i < THREADS; i++) {
		workers[i].s = &s;
		workers[i].total = counter;
		workers[i].number = i;
		workers[i].calls = (calls + THREADS - 1) / THREADS;
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i])) {
			fprintf(stderr, "stress: no thread\n");
			return EXIT_FAILURE;
		}
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
		made += workers[i].made;
		launches += workers[i].launches;
	}
	check(clEnqueueReadBuffer(s.queue, counter, CL_TRUE, 0, sizeof(total), &total, 0, NULL, NULL),
	      "clEnqueueReadBuffer");
	check(clReleaseMemObject(counter), "clReleaseMemObject");
	sample_close(&s);
	if (total != launches) {
		fprintf(stderr, "stress: %d launches, of which %d took place\n", launches, total);
		return EXIT_FAILURE;
	}
	printf("RESULT program=stress threads=%d calls=%zu verified=yes\n", THREADS, made);
	return 0;
}
