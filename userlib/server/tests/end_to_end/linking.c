// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * Compiling and linking apart, and what is refused. It prints what it sees, which
 * is the same with the vendor's own library.
 */
#include "program.h"

#include <stdbool.h>

static bool native;

static cl_program source(const char *text)
{
	cl_int err;
	cl_program program = clCreateProgramWithSource(context, 1, &text, NULL, &err);

	OK(err);
	return program;
}

static const char kernel_text[] = "#include \"sum/add.h\"\n"
				  "#include <twice.h>\n"
				  "__kernel void work(__global int *out, int a)\n"
				  "{ *out = add(TWICE(a), BY); }\n";
static const char add_header[] = "int add(int a, int b);\n";
static const char twice_header[] = "#define TWICE(x) ((x) * 2)\n";
static const char add_text[] = "int add(int a, int b) { return a + b; }\n";
static const char wrong_text[] = "int f(void) { return undeclared; }\n";

static void binary_type(const char *what, cl_program program)
{
	cl_program_binary_type type = 77;
	cl_build_status status = 77;
	char options[256] = "";

	OK(clGetProgramBuildInfo(program, device, CL_PROGRAM_BINARY_TYPE, sizeof(type), &type, NULL));
	OK(clGetProgramBuildInfo(program, device, CL_PROGRAM_BUILD_STATUS, sizeof(status), &status,
				 NULL));
	OK(clGetProgramBuildInfo(program, device, CL_PROGRAM_BUILD_OPTIONS, sizeof(options), options,
				 NULL));
	printf("%s: type %x status %d\n", what, type, status);
}

struct told {
	int times;
	cl_program program;
};

static void CL_CALLBACK notify(cl_program program, void *user_data)
{
	struct told *told = user_data;

	told->program = program;
	told->times++;
}

static int result_of(cl_program program)
{
	const int a = 20;
	int out = 0;
	cl_int err;
	cl_mem mem = clCreateBuffer(context, 0, sizeof(out), NULL, &err);
	cl_kernel kernel;

	OK(err);
	kernel = clCreateKernel(program, "work", &err);
	OK(err);
	OK(clSetKernelArg(kernel, 0, sizeof(mem), &mem));
	OK(clSetKernelArg(kernel, 1, sizeof(a), &a));
	OK(clEnqueueTask(queue, kernel, 0, NULL, NULL));
	OK(clEnqueueReadBuffer(queue, mem, CL_TRUE, 0, sizeof(out), &out, 0, NULL, NULL));
	OK(clReleaseKernel(kernel));
	OK(clReleaseMemObject(mem));
	return out;
}

static void linking(void)
{
	const char *names[2] = { "sum/add.h", "twice.h" };
	cl_program main_part = source(kernel_text), add = source(add_text);
	cl_program headers[2] = { source(add_header), source(twice_header) };
	cl_program parts[2] = { main_part, add }, linked, library, its;
	struct told told = { 0 };
	cl_context its_context;
	size_t count;
	cl_uint devices;
	cl_int err;

	OK(clCompileProgram(main_part, 1, &device, "-DBY=3", 2, headers, names, NULL, NULL));
	binary_type("compiled", main_part);
	OK(clCompileProgram(add, 0, NULL, NULL, 0, NULL, NULL, notify, &told));
	EXPECT(told.times == 1 && told.program == add);
	OK(clReleaseProgram(headers[0]));
	OK(clReleaseProgram(headers[1]));

	linked = clLinkProgram(context, 1, &device, NULL, 2, parts, NULL, NULL, &err);
	OK(err);
	binary_type("linked", linked);
	OK(clGetProgramInfo(linked, CL_PROGRAM_CONTEXT, sizeof(its_context), &its_context, NULL));
	EXPECT(its_context == context);
	OK(clGetProgramInfo(linked, CL_PROGRAM_NUM_DEVICES, sizeof(devices), &devices, NULL));
	OK(clGetProgramInfo(linked, CL_PROGRAM_NUM_KERNELS, sizeof(count), &count, NULL));
	EXPECT(devices == 1 && count == 1);
	EXPECT(result_of(linked) == 43);
	OK(clReleaseProgram(linked));

	told.times = 0;
	linked = clLinkProgram(context, 0, NULL, NULL, 2, parts, notify, &told, &err);
	OK(err);
	EXPECT(told.times == 1);
	/* The vendor calls back before it returns, too. */
	EXPECT(told.program == linked);
	EXPECT(result_of(linked) == 43);
	OK(clReleaseProgram(linked));

	library = clLinkProgram(context, 0, NULL, "-create-library", 1, &add, NULL, NULL, &err);
	OK(err);
	binary_type("library", library);
	parts[1] = library;
	linked = clLinkProgram(context, 0, NULL, NULL, 2, parts, NULL, NULL, &err);
	OK(err);
	EXPECT(result_of(linked) == 43);
	OK(clReleaseProgram(linked));
	OK(clReleaseProgram(library));

	its = clLinkProgram(context, 0, NULL, NULL, 1, &main_part, NULL, NULL, &err);
	printf("a function is missing: %d, %s\n", err, its ? "a program" : "none");
	if (its)
		OK(clReleaseProgram(its));
	OK(clReleaseProgram(main_part));
	OK(clReleaseProgram(add));
}

/* A compiled part, in another program, from what stands for its binary. */
static void binaries(void)
{
	cl_program add = source(add_text), again, library;
	const unsigned char *given;
	unsigned char *binary;
	cl_int err, status = 1;
	size_t len = 0;

	OK(clCompileProgram(add, 1, &device, NULL, 0, NULL, NULL, NULL, NULL));
	OK(clGetProgramInfo(add, CL_PROGRAM_BINARY_SIZES, sizeof(len), &len, NULL));
	EXPECT(len > 0);
	binary = malloc(len);
	OK(clGetProgramInfo(add, CL_PROGRAM_BINARIES, sizeof(binary), &binary, NULL));
	given = binary;
	again = clCreateProgramWithBinary(context, 1, &device, &len, &given, &status, &err);
	OK(err);
	OK(status);
	binary_type("from a binary", again);
	library = clLinkProgram(context, 1, &device, "-create-library", 1, &again, NULL, NULL, &err);
	OK(err);
	OK(clReleaseProgram(library));
	OK(clReleaseProgram(again));
	OK(clReleaseProgram(add));
	free(binary);
}

static void mistakes(void)
{
	const char *name = "x.h";
	cl_program add = source(add_text), wrong = source(wrong_text), none = (cl_program)queue;
	struct told told = { 0 };
	char log[4096] = "";
	cl_int err;

	STATUS(clCompileProgram(NULL, 0, NULL, NULL, 0, NULL, NULL, NULL, NULL), CL_INVALID_PROGRAM);
	STATUS(clCompileProgram(add, 1, NULL, NULL, 0, NULL, NULL, NULL, NULL), CL_INVALID_VALUE);
	STATUS(clCompileProgram(add, 0, &device, NULL, 0, NULL, NULL, NULL, NULL), CL_INVALID_VALUE);
	STATUS(clCompileProgram(add, 0, NULL, NULL, 0, NULL, NULL, NULL, &told), CL_INVALID_VALUE);
	STATUS(clCompileProgram(add, 0, NULL, "-no-such-option", 0, NULL, NULL, NULL, NULL),
	       CL_INVALID_COMPILER_OPTIONS);
	STATUS(clCompileProgram(wrong, 0, NULL, NULL, 0, NULL, NULL, NULL, NULL),
	       CL_COMPILE_PROGRAM_FAILURE);
	OK(clGetProgramBuildInfo(wrong, device, CL_PROGRAM_BUILD_LOG, sizeof(log), log, NULL));
	EXPECT(strstr(log, "undeclared"));
	binary_type("wrong", wrong);
	if (!native) {
		/* What the vendor's does not check, or tells after it has called back. */
		STATUS(clCompileProgram(add, 0, NULL, NULL, 1, NULL, NULL, NULL, NULL),
		       CL_INVALID_VALUE);
		STATUS(clCompileProgram(add, 0, NULL, NULL, 0, &wrong, &name, NULL, NULL),
		       CL_INVALID_VALUE);
		OK(clCompileProgram(wrong, 0, NULL, NULL, 0, NULL, NULL, notify, &told));
		EXPECT(told.times == 1 && told.program == wrong);
		EXPECT(!clLinkProgram(context, 0, NULL, NULL, 1, &none, NULL, NULL, &err));
		STATUS(err, CL_INVALID_PROGRAM);
	}

	EXPECT(!clLinkProgram(NULL, 0, NULL, NULL, 1, &add, NULL, NULL, &err));
	STATUS(err, CL_INVALID_CONTEXT);
	EXPECT(!clLinkProgram(context, 0, NULL, NULL, 0, NULL, NULL, NULL, &err));
	STATUS(err, CL_INVALID_VALUE);
	EXPECT(!clLinkProgram(context, 0, NULL, NULL, 1, NULL, NULL, NULL, &err));
	STATUS(err, CL_INVALID_VALUE);
	EXPECT(!clLinkProgram(context, 1, NULL, NULL, 1, &add, NULL, NULL, &err));
	STATUS(err, CL_INVALID_VALUE);
	EXPECT(!clLinkProgram(context, 0, NULL, NULL, 1, &add, NULL, NULL, &err));
	STATUS(err, CL_INVALID_OPERATION);
	OK(clCompileProgram(add, 0, NULL, NULL, 0, NULL, NULL, NULL, NULL));
	EXPECT(!clLinkProgram(context, 0, NULL, "-no-such-option", 1, &add, NULL, NULL, &err));
	STATUS(err, CL_INVALID_LINKER_OPTIONS);
	OK(clReleaseProgram(add));
	OK(clReleaseProgram(wrong));
}

int main(int argc, char **argv)
{
	cl_bool available = CL_FALSE;

	(void)argv;
	native = argc > 1;
	open_device();
	OK(clGetDeviceInfo(device, CL_DEVICE_LINKER_AVAILABLE, sizeof(available), &available, NULL));
	EXPECT(available == CL_TRUE);
	linking();
	binaries();
	mistakes();
	OK(clReleaseCommandQueue(queue));
	OK(clReleaseContext(context));
	return finish();
}
