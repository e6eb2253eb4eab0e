/* shaders/simt/probe.cu: asks a compiler whether it knows a target; never run. */
extern "C" __attribute__((global)) void simt_probe() {}
