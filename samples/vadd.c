// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * Vector addition in plain OpenCL 1.2, checked against the host. Each round adds
 * something else, and reads the result back.
 *
 * usage: vadd [-n ELEMENTS] [-r ROUNDS]
 */
#include "sample.h"

static const char source[] =
	"__kernel void vadd(__global const float *a, __global const float *b,\n"
	"                   __global float *c, uint n, float more)\n"
	"{\n"
	"	size_t i = get_global_id(0);\n"
	"	if (i < n)\n"
	"		c[i] = a[i] + b[i] + more;\n"
	"}\n";

int main(int argc, char **argv)
{
	size_t n = 65536, rounds = 1;

	options(argc, argv, &n, &rounds);

	const size_t bytes = n * sizeof(float);
	const size_t local = 64;
	const size_t global = (n + local - 1) / local * local;
	const cl_uint count = (cl_uint)n;
	float *a = allocate(bytes), *b = allocate(bytes), *c = allocate(bytes);
	struct sample s;
	cl_kernel kernel;
	cl_mem in_a, in_b, out;
	cl_int err;
	int good = 1;

	for (size_t i = 0; i < n; i++) {
		a[i] = (float)(i % 1000) * 0.5f;
		b[i] = (float)(i % 777) * 0.25f;
	}

	sample_open(&s);
	kernel = sample_kernel(&s, source, "vadd");
	in_a = clCreateBuffer(s.context, CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR, bytes, a, &err);
	check(err, "clCreateBuffer");
	in_b = clCreateBuffer(s.context, CL_MEM_READ_ONLY, bytes, NULL, &err);
	check(err, "clCreateBuffer");
	out = clCreateBuffer(s.context, CL_MEM_WRITE_ONLY, bytes, NULL, &err);
	check(err, "clCreateBuffer");
	check(clEnqueueWriteBuffer(s.queue, in_b, CL_FALSE, 0, bytes, b, 0, NULL, NULL),
	      "clEnqueueWriteBuffer");

	check(clSetKernelArg(kernel, 0, sizeof(in_a), &in_a), "clSetKernelArg");
	check(clSetKernelArg(kernel, 1, sizeof(in_b), &in_b), "clSetKernelArg");
	check(clSetKernelArg(kernel, 2, sizeof(out), &out), "clSetKernelArg");
	check(clSetKernelArg(kernel, 3, sizeof(count), &count), "clSetKernelArg");
	for (size_t round = 0; round < rounds && good; round++) {
		/* Sums stay exact in single precision. */
		const float more = (float)(round % 1024);

		check(clSetKernelArg(kernel, 4, sizeof(more), &more), "clSetKernelArg");
		check(clEnqueueNDRangeKernel(s.queue, kernel, 1, NULL, &global, &local, 0, NULL,
					     NULL),
		      "clEnqueueNDRangeKernel");
		check(clEnqueueReadBuffer(s.queue, out, CL_FALSE, 0, bytes, c, 0, NULL, NULL),
		      "clEnqueueReadBuffer");
		check(clFinish(s.queue), "clFinish");

		for (size_t i = 0; i < n; i++) {
			if (c[i] != a[i] + b[i] + more) {
				fprintf(stderr, "vadd: round %zu: element %zu is %g, not %g\n",
					round, i, c[i], a[i] + b[i] + more);
				good = 0;
				break;
			}
		}
	}

	clReleaseMemObject(in_a);
	clReleaseMemObject(in_b);
	clReleaseMemObject(out);
	clReleaseKernel(kernel);
	sample_close(&s);
	free(a);
	free(b);
	free(c);
	printf("vadd: n=%zu verified=%s\n", n, good ? "yes" : "no");
	return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
