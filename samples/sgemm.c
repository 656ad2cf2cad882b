// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * Adds the product of two square matrices to a third one, several times over,
 * tiled through local memory, in plain OpenCL 1.2, checked against the host.
 *
 * usage: sgemm [-n ROWS]
 */
#include "sample.h"

#define TILE 8
#define ROUNDS 32

static const char source[] =
	"#define TILE 8\n"
	"__kernel __attribute__((reqd_work_group_size(TILE, TILE, 1)))\n"
	"void sgemm(__global const float *a, __global const float *b,\n"
	"           __global float *c, uint n, __local float *tile_a,\n"
	"           __local float *tile_b)\n"
	"{\n"
	"	uint col = get_global_id(0), row = get_global_id(1);\n"
	"	uint x = get_local_id(0), y = get_local_id(1);\n"
	"	float sum = 0.0f;\n"
	"	for (uint t = 0; t < n; t += TILE) {\n"
	"		tile_a[y * TILE + x] = row < n && t + x < n ? a[row * n + t + x] : 0.0f;\n"
	"		tile_b[y * TILE + x] = t + y < n && col < n ? b[(t + y) * n + col] : 0.0f;\n"
	"		barrier(CLK_LOCAL_MEM_FENCE);\n"
	"		for (uint k = 0; k < TILE; k++)\n"
	"			sum += tile_a[y * TILE + k] * tile_b[k * TILE + x];\n"
	"		barrier(CLK_LOCAL_MEM_FENCE);\n"
	"	}\n"
	"	if (row < n && col < n)\n"
	"		c[row * n + col] += sum;\n"
	"}\n";

int main(int argc, char **argv)
{
	size_t n = 64;

	options(argc, argv, &n, NULL);

	const size_t bytes = n * n * sizeof(float);
	const size_t rounded = (n + TILE - 1) / TILE * TILE;
	const size_t global[2] = { rounded, rounded };
	const size_t local[2] = { TILE, TILE };
	const size_t tile_bytes = TILE * TILE * sizeof(float);
	const cl_uint rows = (cl_uint)n;
	float *a = allocate(bytes), *b = allocate(bytes), *c = allocate(bytes);
	struct sample s;
	cl_kernel kernel;
	cl_mem in_a, in_b, out;
	cl_int err;
	int good = 1;

	for (size_t i = 0; i < n * n; i++) {
		a[i] = (float)((i * 7 + 3) % 19) / 19.0f - 0.5f;
		b[i] = (float)((i * 5 + 1) % 23) / 23.0f - 0.5f;
		c[i] = 0.0f;
	}

	sample_open(&s);
	kernel = sample_kernel(&s, source, "sgemm");
	in_a = clCreateBuffer(s.context, CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR, bytes, a, &err);
	check(err, "clCreateBuffer");
	in_b = clCreateBuffer(s.context, CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR, bytes, b, &err);
	check(err, "clCreateBuffer");
	out = clCreateBuffer(s.context, CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR, bytes, c, &err);
	check(err, "clCreateBuffer");

	for (int round = 0; round < ROUNDS; round++) {
		check(clSetKernelArg(kernel, 0, sizeof(in_a), &in_a), "clSetKernelArg");
		check(clSetKernelArg(kernel, 1, sizeof(in_b), &in_b), "clSetKernelArg");
		check(clSetKernelArg(kernel, 2, sizeof(out), &out), "clSetKernelArg");
		check(clSetKernelArg(kernel, 3, sizeof(rows), &rows), "clSetKernelArg");
		check(clSetKernelArg(kernel, 4, tile_bytes, NULL), "clSetKernelArg");
		check(clSetKernelArg(kernel, 5, tile_bytes, NULL), "clSetKernelArg");
		check(clEnqueueNDRangeKernel(s.queue, kernel, 2, NULL, global, local, 0, NULL, NULL),
		      "clEnqueueNDRangeKernel");
		if (round % 4 == 3)
			check(clFinish(s.queue), "clFinish");
	}
	check(clEnqueueReadBuffer(s.queue, out, CL_TRUE, 0, bytes, c, 0, NULL, NULL),
	      "clEnqueueReadBuffer");

	for (size_t row = 0; row < n && good; row++) {
		for (size_t col = 0; col < n; col++) {
			double sum = 0.0;
			for (size_t k = 0; k < n; k++)
				sum += ROUNDS * (double)a[row * n + k] * b[k * n + col];
			/* Rounding errors of the products, each below 1/4, in single precision. */
			if (!(fabs(c[row * n + col] - sum) <= 1e-6 * ROUNDS * (double)n)) {
				fprintf(stderr, "sgemm: element %zu,%zu is %g, not %g\n",
					row, col, c[row * n + col], sum);
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
	printf("sgemm: n=%zu verified=%s\n", n, good ? "yes" : "no");
	return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
