// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * Says "busy", then waits for a kernel that takes for ever. What clFinish
 * returns, if it does, is the last line.
 */
#include "program.h"

int main(void)
{
	const size_t one = 1;
	cl_program program;
	cl_kernel kernel;
	cl_mem mem;
	cl_int err;

	open_device();
	program = build("__kernel void forever(volatile __global int *p) { while (*p == 0) ; }\n");
	kernel = clCreateKernel(program, "forever", &err);
	OK(err);
	mem = clCreateBuffer(context, CL_MEM_READ_WRITE, 4, NULL, &err);
	OK(err);
	err = 0;
	OK(clEnqueueWriteBuffer(queue, mem, CL_TRUE, 0, 4, &err, 0, NULL, NULL));
	OK(clSetKernelArg(kernel, 0, sizeof(mem), &mem));
	OK(clEnqueueNDRangeKernel(queue, kernel, 1, NULL, &one, NULL, 0, NULL, NULL));
	printf("busy\n");
	fflush(stdout);
	err = clFinish(queue);
	printf("finish %d\n", err);
	err = clFinish(queue);
	printf("again %d\n", err);
	return finish();
}
