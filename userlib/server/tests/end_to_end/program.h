/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* What the test programs share. */
#ifndef CL_TARGET_OPENCL_VERSION
#define CL_TARGET_OPENCL_VERSION 120
#endif
#define CL_USE_DEPRECATED_OPENCL_1_0_APIS
#define CL_USE_DEPRECATED_OPENCL_1_1_APIS
#include <CL/cl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures;

#define EXPECT(condition)                                                       \
	do {                                                                    \
		if (!(condition)) {                                             \
			fprintf(stderr, "line %d: %s\n", __LINE__, #condition); \
			failures++;                                             \
		}                                                               \
	} while (0)

#define STATUS(call, expected)                                                    \
	do {                                                                      \
		cl_int got_ = (call);                                             \
		if (got_ != (expected)) {                                         \
			fprintf(stderr, "line %d: %s is %d, not %d\n", __LINE__,  \
				#call, got_, (int)(expected));                    \
			failures++;                                               \
		}                                                                 \
	} while (0)

#define OK(call) STATUS(call, CL_SUCCESS)

static cl_platform_id platform;
static cl_device_id device;
static cl_context context;
static cl_command_queue queue;

static inline void open_device(void)
{
	cl_context_properties properties[3] = { CL_CONTEXT_PLATFORM, 0, 0 };
	cl_int err;

	err = clGetPlatformIDs(1, &platform, NULL);
	if (err != CL_SUCCESS) {
		fprintf(stderr, "no platform: %d\n", err);
		exit(3);
	}
	OK(clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 1, &device, NULL));
	properties[1] = (cl_context_properties)platform;
	context = clCreateContext(properties, 1, &device, NULL, NULL, &err);
	OK(err);
	queue = clCreateCommandQueue(context, device, CL_QUEUE_PROFILING_ENABLE, &err);
	OK(err);
	if (failures)
		exit(4);
}

static inline void close_device(void)
{
	OK(clReleaseCommandQueue(queue));
	OK(clReleaseContext(context));
}

static inline cl_program build(const char *source)
{
	cl_int err;
	cl_program program = clCreateProgramWithSource(context, 1, &source, NULL, &err);

	OK(err);
	OK(clBuildProgram(program, 1, &device, "-DUNUSED=1", NULL, NULL));
	return program;
}

static inline int finish(void)
{
	if (failures == 0)
		printf("all as expected\n");
	return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
