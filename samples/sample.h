/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * What the samples share: the first device of the first platform that has one,
 * a context and a queue on it, a kernel from source, and giving up with a
 * message when something fails.
 */
#ifndef SAMPLE_H
#define SAMPLE_H

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sample {
	cl_device_id device;
	cl_context context;
	cl_command_queue queue;
	cl_program program;
};

static inline void check(cl_int err, const char *what)
{
	if (err == CL_SUCCESS)
		return;
	fprintf(stderr, "%s: OpenCL error %d\n", what, err);
	exit(EXIT_FAILURE);
}

static inline void *allocate(size_t bytes)
{
	void *p = malloc(bytes);

	if (!p) {
		fprintf(stderr, "out of memory\n");
		exit(EXIT_FAILURE);
	}
	return p;
}

/* Numbers after -n, and after -r if the program has rounds; they stay as they are otherwise. */
static inline void options(int argc, char **argv, size_t *size, size_t *rounds)
{
	for (int i = 1; i < argc; i += 2) {
		size_t *number = NULL;
		unsigned long n = 0;
		char *end = "no";

		if (strcmp(argv[i], "-n") == 0)
			number = size;
		else if (strcmp(argv[i], "-r") == 0)
			number = rounds;
		if (number && i + 1 < argc && *argv[i + 1] != '\0')
			n = strtoul(argv[i + 1], &end, 10);
		if (*end != '\0' || n == 0 || n > UINT32_MAX / 64) {
			fprintf(stderr, "usage: %s [-n SIZE]%s\n", argv[0],
				rounds ? " [-r ROUNDS]" : "");
			exit(2);
		}
		*number = n;
	}
}

static inline void sample_open(struct sample *s)
{
	cl_platform_id platforms[16];
	cl_uint count = 0;
	char name[256];
	cl_int err;

	check(clGetPlatformIDs(16, platforms, &count), "clGetPlatformIDs");
	if (count > 16)
		count = 16;
	s->device = NULL;
	for (cl_uint i = 0; i < count && !s->device; i++)
		if (clGetDeviceIDs(platforms[i], CL_DEVICE_TYPE_ALL, 1, &s->device, NULL) != CL_SUCCESS)
			s->device = NULL;
	if (!s->device) {
		fprintf(stderr, "there is no OpenCL device\n");
		exit(EXIT_FAILURE);
	}
	check(clGetDeviceInfo(s->device, CL_DEVICE_NAME, sizeof(name), name, NULL),
	      "clGetDeviceInfo");
	printf("device: %s\n", name);
	s->context = clCreateContext(NULL, 1, &s->device, NULL, NULL, &err);
	check(err, "clCreateContext");
	s->queue = clCreateCommandQueue(s->context, s->device, 0, &err);
	check(err, "clCreateCommandQueue");
	s->program = NULL;
}

static inline cl_kernel sample_kernel(struct sample *s, const char *source, const char *name)
{
	cl_kernel kernel;
	cl_int err;

	s->program = clCreateProgramWithSource(s->context, 1, &source, NULL, &err);
	check(err, "clCreateProgramWithSource");
	err = clBuildProgram(s->program, 1, &s->device, "", NULL, NULL);
	if (err != CL_SUCCESS) {
		char log[4096] = "";

		clGetProgramBuildInfo(s->program, s->device, CL_PROGRAM_BUILD_LOG, sizeof(log) - 1,
				      log, NULL);
		fprintf(stderr, "%s\n", log);
	}
	check(err, "clBuildProgram");
	kernel = clCreateKernel(s->program, name, &err);
	check(err, "clCreateKernel");
	return kernel;
}

static inline void sample_close(struct sample *s)
{
	clReleaseProgram(s->program);
	clReleaseCommandQueue(s->queue);
	clReleaseContext(s->context);
}

#endif
