/* SPDX-License-Identifier: Apache-2.0 OR MIT */
/*
 * The program's functions that are called when something has happened. Arguments: "native", or one of the ends below.
 * Nothing is called for a command that fails: PoCL does not, where the specification wants it.
 */
#include <pthread.h>
#include <semaphore.h>
#include <sys/wait.h>
#include <unistd.h>

#include "program.h"

#define N 1024
#define MANY 100

static int native;
static sem_t called;
static pthread_t service;
static int seen_service;
static cl_mem buffer;

/* Here all are called by one thread, which is none of the program's; PoCL calls from whichever it is in. */
static void check_thread(void)
{
	if (native)
		return;
	if (!seen_service)
		service = pthread_self();
	seen_service = 1;
	EXPECT(pthread_equal(service, pthread_self()));
}

static cl_event user_event(void)
{
	cl_int err;
	cl_event event = clCreateUserEvent(context, &err);

	OK(err);
	return event;
}

static void wait_for(int count)
{
	while (count--)
		sem_wait(&called);
}

/* What a callback is to find, and what it found. */
struct expected {
	cl_event event;
	const unsigned char *read;
	cl_int status;
	int order;
};

static int calls;

static void CL_CALLBACK on_event(cl_event event, cl_int status, void *data)
{
	struct expected *expected = data;

	check_thread();
	EXPECT(event == expected->event);
	if (expected->read)
		EXPECT(expected->read[0] == 7 && expected->read[N - 1] == 7);
	expected->status = status;
	expected->order = ++calls;
	sem_post(&called);
}

static void progress_is_told(void)
{
	cl_event start = user_event(), read;
	unsigned char out[N] = { 0 }, seven = 7;
	struct expected submitted = { 0 }, running = { 0 }, complete = { .read = out }, late = { 0 };

	OK(clEnqueueFillBuffer(queue, buffer, &seven, 1, 0, N, 0, NULL, NULL));
	OK(clEnqueueReadBuffer(queue, buffer, CL_FALSE, 0, N, out, 1, &start, &read));
	submitted.event = running.event = complete.event = late.event = read;
	OK(clSetEventCallback(read, CL_COMPLETE, on_event, &complete));
	OK(clSetEventCallback(read, CL_RUNNING, on_event, &running));
	OK(clSetEventCallback(read, CL_SUBMITTED, on_event, &submitted));
	OK(clFlush(queue));
	OK(clSetUserEventStatus(start, CL_COMPLETE));
	wait_for(3);
	STATUS(submitted.status, CL_SUBMITTED);
	STATUS(running.status, CL_RUNNING);
	STATUS(complete.status, CL_COMPLETE);
	EXPECT(submitted.order < running.order && running.order < complete.order);
	OK(clSetEventCallback(read, CL_COMPLETE, on_event, &late));
	wait_for(1);
	STATUS(late.status, CL_COMPLETE);
	OK(clReleaseEvent(read));
	OK(clReleaseEvent(start));
}

static int count;

static void CL_CALLBACK count_it(cl_event event, cl_int status, void *data)
{
	STATUS(status, CL_COMPLETE);
	EXPECT(data == &count);
	count++;
	sem_post(&called);
}

/* The event is released by then. */
static void each_is_called_once(void)
{
	cl_event event = user_event();

	count = 0;
	for (int i = 0; i < MANY; i++)
		OK(clSetEventCallback(event, CL_COMPLETE, count_it, &count));
	OK(clRetainEvent(event));
	OK(clReleaseEvent(event));
	OK(clSetUserEventStatus(event, CL_COMPLETE));
	OK(clReleaseEvent(event));
	wait_for(MANY);
	EXPECT(count == MANY);
	EXPECT(sem_trywait(&called) != 0);
}

/* Sets the event that is its data. */
static void CL_CALLBACK set_next(cl_event event, cl_int status, void *data)
{
	cl_int found = 99;
	cl_event marker;

	OK(clGetEventInfo(event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof(found), &found, NULL));
	STATUS(found, CL_COMPLETE);
	OK(clEnqueueMarkerWithWaitList(queue, 0, NULL, &marker));
	OK(clReleaseEvent(marker));
	if (data)
		OK(clSetUserEventStatus(data, CL_COMPLETE));
	sem_post(&called);
}

static void callbacks_call(void)
{
	cl_event events[8];

	for (int i = 0; i < 8; i++)
		events[i] = user_event();
	for (int i = 0; i < 8; i++)
		OK(clSetEventCallback(events[i], CL_COMPLETE, set_next, i < 7 ? events[i + 1] : NULL));
	OK(clSetUserEventStatus(events[0], CL_COMPLETE));
	wait_for(8);
	OK(clFinish(queue));
	for (int i = 0; i < 8; i++)
		OK(clReleaseEvent(events[i]));
}

static int destroyed;

static void CL_CALLBACK on_destroyed(cl_mem memory, void *data)
{
	check_thread();
	/* In the order opposite to that of registration. */
	EXPECT((long)data == 3 - destroyed);
	destroyed++;
	sem_post(&called);
}

static void destruction_is_told(void)
{
	cl_event start = user_event(), done;
	unsigned char zero = 0;
	cl_int err;
	cl_mem memory = clCreateBuffer(context, CL_MEM_READ_WRITE, N, NULL, &err);

	OK(err);
	for (long i = 1; i <= 3; i++)
		OK(clSetMemObjectDestructorCallback(memory, on_destroyed, (void *)i));
	OK(clEnqueueFillBuffer(queue, memory, &zero, 1, 0, N, 1, &start, &done));
	OK(clRetainMemObject(memory));
	OK(clReleaseMemObject(memory));
	OK(clReleaseMemObject(memory));
	OK(clFlush(queue));
	/* The command still needs it. */
	EXPECT(sem_trywait(&called) != 0);
	OK(clSetUserEventStatus(start, CL_COMPLETE));
	OK(clFinish(queue));
	OK(clReleaseEvent(done));
	OK(clReleaseEvent(start));
	wait_for(3);
	EXPECT(destroyed == 3);
}

static void CL_CALLBACK on_built(cl_program program, void *data)
{
	EXPECT(data == &count);
	sem_post(&called);
}

static void building_is_told(void)
{
	const char *source = "kernel void nothing(void) {}";
	cl_int err;
	cl_build_status status = CL_BUILD_NONE;
	cl_program program = clCreateProgramWithSource(context, 1, &source, NULL, &err);

	OK(err);
	OK(clBuildProgram(program, 1, &device, NULL, on_built, &count));
	wait_for(1);
	OK(clGetProgramBuildInfo(program, device, CL_PROGRAM_BUILD_STATUS, sizeof(status), &status, NULL));
	EXPECT(status == CL_BUILD_SUCCESS);
	OK(clReleaseProgram(program));
}

static void mistakes(void)
{
	cl_event event = user_event();

	STATUS(clSetEventCallback(event, CL_COMPLETE, NULL, NULL), CL_INVALID_VALUE);
	STATUS(clSetEventCallback(event, CL_QUEUED, count_it, NULL), CL_INVALID_VALUE);
	STATUS(clSetEventCallback(event, -1, count_it, NULL), CL_INVALID_VALUE);
	STATUS(clSetEventCallback(NULL, CL_COMPLETE, count_it, NULL), CL_INVALID_EVENT);
	STATUS(clSetMemObjectDestructorCallback(buffer, NULL, NULL), CL_INVALID_VALUE);
	STATUS(clSetMemObjectDestructorCallback(NULL, on_destroyed, NULL), CL_INVALID_MEM_OBJECT);
	OK(clReleaseEvent(event));
}

/* The server is killed while callbacks are to come: those of events are told. */
static int lost(void)
{
	cl_event start = user_event(), marker;
	struct expected of_start = { .event = start }, of_marker = { 0 };

	OK(clEnqueueMarkerWithWaitList(queue, 1, &start, &marker));
	of_marker.event = marker;
	OK(clSetEventCallback(start, CL_COMPLETE, on_event, &of_start));
	OK(clSetEventCallback(marker, CL_COMPLETE, on_event, &of_marker));
	OK(clSetMemObjectDestructorCallback(buffer, on_destroyed, NULL));
	printf("waiting\n");
	fflush(stdout);
	wait_for(2);
	EXPECT(of_start.status < 0 && of_marker.status < 0);
	EXPECT(clSetEventCallback(start, CL_COMPLETE, on_event, &of_start) != CL_SUCCESS);
	EXPECT(destroyed == 0);
	return finish();
}

/* A child has no part in it, and a program may end with callbacks to come. */
static int left(void)
{
	cl_event start = user_event(), later = user_event();
	struct expected of_start = { .event = start }, of_later = { .event = later };
	int status = -1;
	pid_t child;

	OK(clSetEventCallback(later, CL_COMPLETE, on_event, &of_later));
	OK(clSetEventCallback(start, CL_COMPLETE, on_event, &of_start));
	child = fork();
	if (child == 0) {
		EXPECT(clSetEventCallback(start, CL_COMPLETE, on_event, &of_start) != CL_SUCCESS);
		EXPECT(clSetUserEventStatus(start, CL_COMPLETE) != CL_SUCCESS);
		exit(failures);
	}
	EXPECT(waitpid(child, &status, 0) == child && status == 0);
	OK(clSetUserEventStatus(start, CL_COMPLETE));
	wait_for(1);
	STATUS(of_start.status, CL_COMPLETE);
	return finish();
}

int main(int argc, char **argv)
{
	cl_int err;

	native = argc > 1 && strcmp(argv[1], "native") == 0;
	open_device();
	sem_init(&called, 0, 0);
	buffer = clCreateBuffer(context, CL_MEM_READ_WRITE, N, NULL, &err);
	OK(err);
	if (argc > 1 && !native)
		return strcmp(argv[1], "lost") == 0 ? lost() : left();
	mistakes();
	progress_is_told();
	each_is_called_once();
	callbacks_call();
	destruction_is_told();
	building_is_told();
	OK(clReleaseMemObject(buffer));
	close_device();
	return finish();
}
