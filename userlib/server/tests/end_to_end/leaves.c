/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/* Leaves some of its objects to whoever cleans up. */
#include "program.h"

int main(void)
{
	const int zero = 0;
	cl_program program;
	cl_mem gone, mem, other;
	cl_event event;

	open_device();
	program = build("__kernel void f(__global int *p) { *p = 1; }\n");
	clCreateKernel(program, "f", NULL);
	clCreateKernel(program, "f", NULL);
	gone = clCreateBuffer(context, CL_MEM_READ_WRITE, 64, NULL, NULL);
	mem = clCreateBuffer(context, CL_MEM_READ_WRITE, 64, NULL, NULL);
	other = clCreateBuffer(context, CL_MEM_READ_WRITE, 64, NULL, NULL);
	EXPECT(mem && other);
	OK(clEnqueueFillBuffer(queue, mem, &zero, sizeof(zero), 0, 64, 0, NULL, &event));
	OK(clFinish(queue));
	OK(clReleaseMemObject(gone));
	OK(clRetainMemObject(mem));
	OK(clReleaseMemObject(mem));
	return finish();
}
