// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * Eight threads on one context, each with a queue, a kernel object and buffers of
 * its own: rounds of writes, launches and reads that do not block, checked
 * against the host.
 *
 * usage: threads [-n ELEMENTS] [-r ROUNDS]
 */
#include "sample.h"
#include <pthread.h>

#define THREADS 8

static const char source[] =
	"__kernel void scale(__global const int *in, __global int *out, uint n, int factor)\n"
	"{\n"
	"	size_t i = get_global_id(0);\n"
	"	if (i < n)\n"
	"		out[i] = in[i] * factor;\n"
	"}\n";

struct work {
	pthread_t thread;
	struct sample *s;
	size_t n, rounds;
	int number, good;
};

/* Whether a round's results are right. */
static int same(const struct work *w, const cl_int *in, const cl_int *out, cl_int factor, size_t round)
{
	for (size_t i = 0; i < w->n; i++) {
		if (out[i] != in[i] * factor) {
			fprintf(stderr, "threads: thread %d, round %zu: element %zu is %d, not %d\n",
				w->number, round, i, out[i], in[i] * factor);
			return 0;
		}
	}
	return 1;
}

static void *run(void *argument)
{
	struct work *w = argument;
	const size_t bytes = w->n * sizeof(cl_int), global = (w->n + 63) / 64 * 64, local = 64;
	const cl_uint count = (cl_uint)w->n;
	cl_int *in = allocate(bytes), *out = allocate(bytes), err;
	cl_command_queue queue = clCreateCommandQueue(w->s->context, w->s->device, 0, &err);
	cl_mem from, to;
	cl_kernel kernel;

	check(err, "clCreateCommandQueue");
	kernel = clCreateKernel(w->s->program, "scale", &err);
	check(err, "clCreateKernel");
	from = clCreateBuffer(w->s->context, CL_MEM_READ_ONLY, bytes, NULL, &err);
	check(err, "clCreateBuffer");
	to = clCreateBuffer(w->s->context, CL_MEM_WRITE_ONLY, bytes, NULL, &err);
	check(err, "clCreateBuffer");
	check(clSetKernelArg(kernel, 0, sizeof(from), &from), "clSetKernelArg");
	check(clSetKernelArg(kernel, 1, sizeof(to), &to), "clSetKernelArg");
	check(clSetKernelArg(kernel, 2, sizeof(count), &count), "clSetKernelArg");
	for (size_t round = 0; round < w->rounds && w->good; round++) {
		const cl_int factor = (cl_int)(round * THREADS) + w->number;

		for (size_t i = 0; i < w->n; i++)
			in[i] = (cl_int)(i * 7 + round) % 1009 - w->number;
		check(clEnqueueWriteBuffer(queue, from, round % 2, 0, bytes, in, 0, NULL, NULL),
		      "clEnqueueWriteBuffer");
		check(clSetKernelArg(kernel, 3, sizeof(factor), &factor), "clSetKernelArg");
		check(clEnqueueNDRangeKernel(queue, kernel, 1, NULL, &global, &local, 0, NULL, NULL),
		      "clEnqueueNDRangeKernel");
		check(clEnqueueReadBuffer(queue, to, round % 3 == 0, 0, bytes, out, 0, NULL, NULL),
		      "clEnqueueReadBuffer");
		if (round % 3)
			check(clFinish(queue), "clFinish");
		w->good = same(w, in, out, factor, round);
	}
	clReleaseMemObject(from);
	clReleaseMemObject(to);
	clReleaseKernel(kernel);
	clReleaseCommandQueue(queue);
	free(in);
	free(out);
	return NULL;
}

int main(int argc, char **argv)
{
	size_t n = 1024, rounds = 20;
	struct work works[THREADS];
	struct sample s;
	int good = 1;

	options(argc, argv, &n, &rounds);
	sample_open(&s);
	clReleaseKernel(sample_kernel(&s, source, "scale"));
	for (int i = 0; i < THREADS; i++) {
		works[i] = (struct work){ .s = &s, .n = n, .rounds = rounds, .number = i, .good = 1 };
		if (pthread_create(&works[i].thread, NULL, run, &works[i]) != 0) {
			fprintf(stderr, "threads: cannot make a thread\n");
			return EXIT_FAILURE;
		}
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(works[i].thread, NULL);
		good &= works[i].good;
	}
	sample_close(&s);
	printf("threads: threads=%d n=%zu rounds=%zu verified=%s\n", THREADS, n, rounds,
	       good ? "yes" : "no");
	return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
