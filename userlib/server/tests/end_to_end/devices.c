// SPDX-License-Identifier: Apache-2.0 OR MIT
/*
 * Several devices, and parts of one, in contexts. It prints what it sees, which is
 * the same with the vendor's own library. Needs two devices, of which one has
 * more than one compute unit.
 */
#include "program.h"

#include <stdbool.h>

#define MANY 16

static cl_uint number(cl_device_id of, cl_device_info name)
{
	cl_uint value = 77;

	OK(clGetDeviceInfo(of, name, sizeof(value), &value, NULL));
	return value;
}

static cl_device_id parent_of(cl_device_id of)
{
	cl_device_id parent = of;

	OK(clGetDeviceInfo(of, CL_DEVICE_PARENT_DEVICE, sizeof(parent), &parent, NULL));
	return parent;
}

static void properties(const char *what, cl_device_id of, cl_device_info name)
{
	cl_device_partition_property list[MANY];
	size_t len = 0;

	OK(clGetDeviceInfo(of, name, sizeof(list), list, &len));
	printf("%s:", what);
	for (size_t i = 0; i < len / sizeof(list[0]); i++)
		printf(" %lx", (long)list[i]);
	printf("\n");
}

static void describe(const char *what, cl_device_id of)
{
	cl_device_affinity_domain domain = 77;

	OK(clGetDeviceInfo(of, CL_DEVICE_PARTITION_AFFINITY_DOMAIN, sizeof(domain), &domain, NULL));
	printf("%s: %u units, %u sub-devices, %u references, domain %lx\n", what,
	       number(of, CL_DEVICE_MAX_COMPUTE_UNITS),
	       number(of, CL_DEVICE_PARTITION_MAX_SUB_DEVICES), number(of, CL_DEVICE_REFERENCE_COUNT),
	       (unsigned long)domain);
	properties("  can be parted", of, CL_DEVICE_PARTITION_PROPERTIES);
	properties("  is parted", of, CL_DEVICE_PARTITION_TYPE);
}

static const char source[] = "__kernel void add(__global int *p, int v)\n"
			     "{ p[get_global_id(0)] += v; }\n";

/* Uses each of the devices, one after the other, on one buffer. */
static void work(cl_uint count, const cl_device_id *devices)
{
	const size_t n = 64;
	int data[64] = { 0 };
	const char *text = source;
	cl_context_properties with[3] = { CL_CONTEXT_PLATFORM, (cl_context_properties)platform, 0 };
	cl_device_id listed[MANY];
	cl_context many;
	cl_program program;
	cl_kernel kernel;
	cl_mem mem;
	size_t len;
	cl_int err;

	many = clCreateContext(with, count, devices, NULL, NULL, &err);
	OK(err);
	OK(clGetContextInfo(many, CL_CONTEXT_DEVICES, sizeof(listed), listed, &len));
	/* PoCL lists the root of parts. */
	printf("a context of %u lists %zu, the first is %s\n", count, len / sizeof(listed[0]),
	       listed[0] == devices[0] ? "the same" :
	       listed[0] == parent_of(devices[0]) ? "its parent" :
						      "another");
	mem = clCreateBuffer(many, CL_MEM_COPY_HOST_PTR, sizeof(data), data, &err);
	OK(err);
	program = clCreateProgramWithSource(many, 1, &text, NULL, &err);
	OK(err);
	OK(clBuildProgram(program, count, devices, NULL, NULL, NULL));
	kernel = clCreateKernel(program, "add", &err);
	OK(err);
	OK(clSetKernelArg(kernel, 0, sizeof(mem), &mem));
	for (cl_uint i = 0; i < count; i++) {
		const int value = 1 << i;
		cl_command_queue on = clCreateCommandQueue(many, devices[i], 0, &err);
		cl_device_id its = NULL;

		OK(err);
		OK(clGetCommandQueueInfo(on, CL_QUEUE_DEVICE, sizeof(its), &its, NULL));
		EXPECT(its == devices[i]);
		OK(clSetKernelArg(kernel, 1, sizeof(value), &value));
		OK(clEnqueueNDRangeKernel(on, kernel, 1, NULL, &n, NULL, 0, NULL, NULL));
		OK(clEnqueueReadBuffer(on, mem, CL_TRUE, 0, sizeof(data), data, 0, NULL, NULL));
		EXPECT(data[0] == (1 << (i + 1)) - 1 && data[63] == data[0]);
		OK(clReleaseCommandQueue(on));
	}
	OK(clReleaseKernel(kernel));
	OK(clReleaseProgram(program));
	OK(clReleaseMemObject(mem));
	OK(clReleaseContext(many));
}

static void roots(cl_uint count, const cl_device_id *devices)
{
	for (cl_uint i = 0; i < count; i++) {
		describe("root", devices[i]);
		EXPECT(parent_of(devices[i]) == NULL);
		OK(clRetainDevice(devices[i]));
		OK(clReleaseDevice(devices[i]));
		OK(clReleaseDevice(devices[i]));
		OK(clReleaseDevice(devices[i]));
		EXPECT(number(devices[i], CL_DEVICE_REFERENCE_COUNT) == 1);
	}
	work(count, devices);
}

static void parts(cl_device_id of)
{
	const cl_uint units = number(of, CL_DEVICE_MAX_COMPUTE_UNITS);
	const cl_device_partition_property equally[] = { CL_DEVICE_PARTITION_EQUALLY, 1, 0 };
	const cl_device_partition_property by_counts[] = {
		CL_DEVICE_PARTITION_BY_COUNTS, 1, (cl_device_partition_property)units - 1,
		CL_DEVICE_PARTITION_BY_COUNTS_LIST_END, 0
	};
	cl_device_id part[MANY], again[MANY];
	cl_context context_of_one;
	cl_uint count = 0;
	cl_int err;

	EXPECT(units > 1 && units <= MANY);
	OK(clCreateSubDevices(of, equally, 0, NULL, &count));
	EXPECT(count == units);
	count = 0;
	OK(clCreateSubDevices(of, equally, MANY, part, &count));
	EXPECT(count == units && part[0] != part[1]);
	for (cl_uint i = 0; i < count; i++) {
		describe("part", part[i]);
		EXPECT(parent_of(part[i]) == of);
	}
	OK(clRetainDevice(part[0]));
	EXPECT(number(part[0], CL_DEVICE_REFERENCE_COUNT) == 2);
	OK(clReleaseDevice(part[0]));
	EXPECT(number(part[0], CL_DEVICE_REFERENCE_COUNT) == 1);
	work(count, part);

	OK(clCreateSubDevices(of, by_counts, 2, again, NULL));
	describe("counted", again[0]);
	describe("counted", again[1]);
	EXPECT(again[0] != part[0] && again[1] != part[0]);
	/* A context holds its devices. */
	context_of_one = clCreateContext(NULL, 1, &again[1], NULL, NULL, &err);
	OK(err);
	OK(clReleaseDevice(again[1]));
	OK(clGetContextInfo(context_of_one, CL_CONTEXT_NUM_DEVICES, sizeof(count), &count, NULL));
	EXPECT(count == 1);
	OK(clReleaseDevice(again[0]));
	OK(clReleaseContext(context_of_one));
	count = units;
	for (cl_uint i = 0; i < count; i++)
		OK(clReleaseDevice(part[i]));
}

static void mistakes(cl_device_id of, cl_device_id whole, bool native)
{
	const cl_uint units = number(of, CL_DEVICE_MAX_COMPUTE_UNITS);
	const cl_device_partition_property equally[] = { CL_DEVICE_PARTITION_EQUALLY, 1, 0 };
	const cl_device_partition_property none[] = { CL_DEVICE_PARTITION_EQUALLY, 0, 0 };
	const cl_device_partition_property more[] = { CL_DEVICE_PARTITION_EQUALLY, units + 1, 0 };
	const cl_device_partition_property counts[] = { CL_DEVICE_PARTITION_BY_COUNTS, units, 1, 0, 0 };
	const cl_device_partition_property empty[] = { CL_DEVICE_PARTITION_BY_COUNTS, 0, 0 };
	const cl_device_partition_property domain[] = { CL_DEVICE_PARTITION_BY_AFFINITY_DOMAIN,
							CL_DEVICE_AFFINITY_DOMAIN_NUMA, 0 };
	const cl_device_partition_property unknown[] = { 0x4242, 1, 0 };
	cl_device_id part[MANY];
	cl_uint count;

	STATUS(clCreateSubDevices(NULL, equally, 0, NULL, &count), CL_INVALID_DEVICE);
	STATUS(clCreateSubDevices(of, NULL, 0, NULL, &count), CL_INVALID_VALUE);
	STATUS(clCreateSubDevices(of, equally, 0, part, &count), CL_INVALID_VALUE);
	STATUS(clCreateSubDevices(of, equally, 1, NULL, &count), CL_INVALID_VALUE);
	STATUS(clCreateSubDevices(of, equally, units - 1, part, &count), CL_INVALID_VALUE);
	printf("none: %d\n", clCreateSubDevices(of, none, MANY, part, &count));
	printf("more: %d\n", clCreateSubDevices(of, more, MANY, part, &count));
	printf("more by counts: %d\n", clCreateSubDevices(of, counts, MANY, part, &count));
	printf("empty: %d\n", clCreateSubDevices(of, empty, MANY, part, &count));
	printf("domain: %d\n", clCreateSubDevices(of, domain, MANY, part, &count));
	printf("unknown: %d\n", clCreateSubDevices(of, unknown, MANY, part, &count));
	printf("whole: %d\n", clCreateSubDevices(whole, equally, MANY, part, &count));
	if (!native) {
		/* One that was given back; the vendor's has been freed. */
		OK(clCreateSubDevices(of, equally, MANY, part, &count));
		for (cl_uint i = 0; i < count; i++)
			OK(clReleaseDevice(part[i]));
		STATUS(clReleaseDevice(part[0]), CL_INVALID_DEVICE);
		STATUS(clRetainDevice(part[0]), CL_INVALID_DEVICE);
		STATUS(clGetDeviceInfo(part[0], CL_DEVICE_REFERENCE_COUNT, sizeof(count), &count, NULL),
		       CL_INVALID_DEVICE);
	}
}

/* Parts come and go, and nothing is left of them. */
static void rounds(cl_device_id of)
{
	const cl_device_partition_property equally[] = { CL_DEVICE_PARTITION_EQUALLY, 1, 0 };
	cl_device_id part[MANY];
	cl_uint count;

	for (int i = 0; i < 1000; i++) {
		OK(clCreateSubDevices(of, equally, MANY, part, &count));
		EXPECT(parent_of(part[count - 1]) == of);
		while (count > 0)
			OK(clReleaseDevice(part[--count]));
	}
}

int main(int argc, char **argv)
{
	cl_device_id devices[MANY], few, many;
	cl_uint count;

	(void)argv;
	OK(clGetPlatformIDs(1, &platform, NULL));
	OK(clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, MANY, devices, &count));
	EXPECT(count == 2);
	if (failures)
		return finish();
	many = devices[number(devices[0], CL_DEVICE_MAX_COMPUTE_UNITS) > 1 ? 0 : 1];
	few = devices[many == devices[0] ? 1 : 0];
	roots(count, devices);
	parts(many);
	mistakes(many, few, argc > 1);
	rounds(many);
	return finish();
}
