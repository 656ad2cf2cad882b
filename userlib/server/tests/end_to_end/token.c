// SPDX-License-Identifier: Apache-2.0 OR MIT
/* usage: token save|load|refused FILE: a program's binary goes through a file. */
#include "program.h"

int main(int argc, char **argv)
{
	unsigned char *bytes = malloc(1 << 20);
	const unsigned char *given = bytes;
	cl_program program;
	cl_kernel kernel;
	cl_int status, err;
	size_t len = 0;
	FILE *file;

	if (argc != 3 || !bytes)
		return 2;
	open_device();
	if (strcmp(argv[1], "save") == 0) {
		program = build("__kernel void f(__global int *p) { *p = 42; }\n");
		OK(clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof(len), &len, NULL));
		EXPECT(len > 0 && len <= 64);
		OK(clGetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof(bytes), &bytes, NULL));
		file = fopen(argv[2], "wb");
		EXPECT(file && fwrite(bytes, 1, len, file) == len && fclose(file) == 0);
		OK(clReleaseProgram(program));
		close_device();
		return finish();
	}
	file = fopen(argv[2], "rb");
	EXPECT(file && (len = fread(bytes, 1, 1 << 20, file)) > 0);
	program = clCreateProgramWithBinary(context, 1, &device, &len, &given, &status, &err);
	if (strcmp(argv[1], "refused") == 0) {
		STATUS(err, CL_INVALID_BINARY);
		close_device();
		return finish();
	}
	OK(err);
	OK(clBuildProgram(program, 1, &device, NULL, NULL, NULL));
	kernel = clCreateKernel(program, "f", &err);
	OK(err);
	OK(clReleaseKernel(kernel));
	OK(clReleaseProgram(program));
	close_device();
	return finish();
}
