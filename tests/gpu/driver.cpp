// A GPU of software, as libcuda.so.1: its memory is the host's, and what is launched has run when the launch returns. A module
// is known by the names of its kernels; the same source compiled for this processor (FOLDER/HASH.cpp) runs in its place.
// What it cannot show: speed, races between threads, and what a GPU's own compiler makes of the source.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <map>
#include <string>
#include <unistd.h>
#include <sys/stat.h>
#include <vector>

typedef void (*Entry)(void **);
typedef void (*Run)(const unsigned *grid, const unsigned *block, void (*body)(void *), void *argument);

struct Function {
    std::string name;
    Entry entry;
    Run run;
    std::vector<size_t> sizes;
};

struct Module {
    void *library;
    std::map<std::string, bool> kernels;  // and whether their threads wait for each other
};

struct Launch {
    Function *function;
    unsigned grid[3], block[3];
    std::vector<std::vector<char>> parameters;
};

struct Stream {
    bool capturing = false;
    std::vector<Launch> launches;
};

enum { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_BINARY = 209, NOT_FOUND = 500, LAUNCH_FAILED = 719 };

// A real GPU's memory holds what was there before; this one's is not a number.
static int allocate(uint64_t *at, size_t bytes) {
    void *memory = std::aligned_alloc(256, (bytes + 511) / 256 * 256);
    if (!memory) return OUT_OF_MEMORY;
    std::memset(memory, 0xff, bytes);
    *at = (uint64_t)memory;
    return SUCCESS;
}

// The kernels that a module's PTX names, with whether each waits: at a barrier, or to exchange values within a warp.
static std::map<std::string, bool> kernels_of(const std::string &ptx) {
    std::map<std::string, bool> found;
    const std::string mark = ".entry ";
    for (size_t at = ptx.find(mark); at != std::string::npos;) {
        size_t start = at + mark.size(), end = ptx.find_first_of("( \n", start), next = ptx.find(mark, end);
        std::string body = ptx.substr(end, next == std::string::npos ? next : next - end);
        bool waits = false;
        for (const char *word : {"bar.", "barrier.", "shfl.", "mma."}) waits |= body.find(word) != std::string::npos;
        found[ptx.substr(start, end - start)] = waits;
        at = next;
    }
    // A function that was not inlined is no kernel's body.
    if (ptx.find(".func ") != std::string::npos) {
        for (auto &kernel : found) kernel.second = true;
    }
    return found;
}

static std::string key(const std::map<std::string, bool> &kernels) {
    uint64_t hash = 0xcbf29ce484222325;
    for (auto &kernel : kernels) {
        for (char byte : kernel.first + "\n") hash = (hash ^ (unsigned char)byte) * 0x100000001b3;
    }
    char text[17];
    std::snprintf(text, sizeof text, "%016llx", (unsigned long long)hash);
    return text;
}

static void run(const Launch &launch) {
    struct Call {
        Entry entry;
        std::vector<void *> parameters;
    } call = {launch.function->entry, {}};
    for (auto &parameter : launch.parameters) call.parameters.push_back((void *)parameter.data());
    auto body = [](void *argument) {
        Call *call = (Call *)argument;
        call->entry(call->parameters.data());
    };
    launch.function->run(launch.grid, launch.block, body, &call);
}

extern "C" {

int cuInit(unsigned) { return SUCCESS; }
int cuDeviceGetCount(int *count) { return *count = 1, SUCCESS; }
int cuDeviceGet(int *device, int) { return *device = 0, SUCCESS; }
int cuDeviceGetName(char *name, int length, int) { return std::snprintf(name, length, "a GPU of software"), SUCCESS; }
int cuDriverGetVersion(int *version) { return *version = 13000, SUCCESS; }
// Pools of memory are there, and nothing else is asked for.
int cuDeviceGetAttribute(int *value, int, int) { return *value = 1, SUCCESS; }
int cuDevicePrimaryCtxRetain(void **context, int) { return *context = (void *)1, SUCCESS; }
int cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
int cuCtxSetCurrent(void *) { return SUCCESS; }
int cuCtxGetCurrent(void **context) { return *context = (void *)1, SUCCESS; }
int cuEventCreate(void **event, unsigned) { return *event = (void *)1, SUCCESS; }
int cuEventRecord(void *, void *) { return SUCCESS; }
int cuEventDestroy_v2(void *) { return SUCCESS; }
int cuStreamCreate(void **stream, unsigned) { return *stream = new Stream, SUCCESS; }
int cuStreamDestroy_v2(void *stream) { return delete (Stream *)stream, SUCCESS; }
int cuStreamSynchronize(void *) { return SUCCESS; }
int cuStreamWaitEvent(void *, void *, unsigned) { return SUCCESS; }
int cuGetErrorName(int error, const char **name) {
    return *name = error == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR", SUCCESS;
}
int cuGetErrorString(int, const char **text) { return *text = "as the software GPU says", SUCCESS; }

int cuMemGetInfo_v2(size_t *free, size_t *total) { return *free = *total = (size_t)64 << 30, SUCCESS; }
int cuMemAlloc_v2(uint64_t *at, size_t bytes) { return allocate(at, bytes); }
int cuMemAllocAsync(uint64_t *at, size_t bytes, void *) { return allocate(at, bytes); }
int cuMemFree_v2(uint64_t at) { return std::free((void *)at), SUCCESS; }
int cuMemFreeAsync(uint64_t at, void *) { return std::free((void *)at), SUCCESS; }
int cuMemsetD8_v2(uint64_t at, unsigned char value, size_t bytes) { return std::memset((void *)at, value, bytes), SUCCESS; }
int cuMemsetD8Async(uint64_t at, unsigned char value, size_t bytes, void *) { return cuMemsetD8_v2(at, value, bytes); }
int cuMemcpyHtoD_v2(uint64_t to, const void *from, size_t bytes) { return std::memcpy((void *)to, from, bytes), SUCCESS; }
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *) { return cuMemcpyHtoD_v2(to, from, bytes); }
int cuMemcpyDtoH_v2(void *to, uint64_t from, size_t bytes) { return std::memcpy(to, (void *)from, bytes), SUCCESS; }
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *) { return cuMemcpyDtoH_v2(to, from, bytes); }
int cuMemcpyDtoD_v2(uint64_t to, uint64_t from, size_t bytes) { return std::memmove((void *)to, (void *)from, bytes), SUCCESS; }
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void *) { return cuMemcpyDtoD_v2(to, from, bytes); }

int cuModuleLoadData(Module **module, const void *image) {
    auto kernels = kernels_of((const char *)image);
    std::string folder = std::getenv("SOFTWARE_GPU"), path = folder + "/" + key(kernels), library = path + ".so";
    struct stat there;
    if (stat(library.c_str(), &there) != 0) {
        // Two processes may build it at once: each writes a file of its own.
        std::string part = library + "." + std::to_string(getpid());
        std::string command = "g++ -std=c++17 -O1 -w -shared -fPIC -I" + folder + " -o " + part + " " + path + ".cpp && mv " +
                              part + " " + library;
        if (std::system(command.c_str()) != 0) return NO_BINARY;
    }
    void *opened = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!opened) return std::fprintf(stderr, "%s\n", dlerror()), NO_BINARY;
    return *module = new Module{opened, kernels}, SUCCESS;
}

int cuModuleUnload(Module *) { return SUCCESS; }

int cuModuleGetFunction(Function **function, Module *module, const char *name) {
    auto find = (Entry(*)(const char *, size_t *, int *))dlsym(module->library, "entry");
    size_t bytes[64];
    int count = 0;
    Entry entry = find(name, bytes, &count);
    auto kernel = module->kernels.find(name);
    if (!entry || kernel == module->kernels.end()) return NOT_FOUND;
    Run run = (Run)dlsym(module->library, kernel->second ? "run_grid" : "run_alone");
    return *function = new Function{name, entry, run, {bytes, bytes + count}}, SUCCESS;
}

int cuLaunchKernel(Function *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, Stream *stream, void **parameters, void **) {
    bool fits = gx && gy && gz && bx && by && bz && gy < 65536 && gz < 65536 && bx * by * bz <= 1024 && bz <= 64;
    if (!fits || shared > 48 << 10) {
        std::fprintf(stderr, "%s: grid %u,%u,%u of %u,%u,%u\n", function->name.c_str(), gx, gy, gz, bx, by, bz);
        return INVALID_VALUE;
    }
    Launch launch = {function, {gx, gy, gz}, {bx, by, bz}, {}};
    for (size_t i = 0; i < function->sizes.size(); i++) {
        const char *value = (const char *)parameters[i];
        launch.parameters.emplace_back(value, value + function->sizes[i]);
    }
    if (stream && stream->capturing) {
        stream->launches.push_back(launch);
    } else {
        run(launch);
    }
    return SUCCESS;
}

int cuStreamBeginCapture_v2(Stream *stream, int) {
    // The default stream cannot be captured.
    if (!stream) return INVALID_VALUE;
    stream->capturing = true;
    stream->launches.clear();
    return SUCCESS;
}
int cuStreamEndCapture(Stream *stream, std::vector<Launch> **graph) {
    stream->capturing = false;
    return *graph = new std::vector<Launch>(stream->launches), SUCCESS;
}
int cuGraphInstantiateWithFlags(std::vector<Launch> **exec, std::vector<Launch> *graph, unsigned long long) {
    return *exec = new std::vector<Launch>(*graph), SUCCESS;
}
int cuGraphLaunch(std::vector<Launch> *exec, void *) {
    for (auto &launch : *exec) run(launch);
    return SUCCESS;
}
int cuGraphDestroy(std::vector<Launch> *graph) { return delete graph, SUCCESS; }
int cuGraphExecDestroy(std::vector<Launch> *exec) { return delete exec, SUCCESS; }

}
