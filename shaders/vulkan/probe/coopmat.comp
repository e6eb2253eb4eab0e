/* shaders/vulkan/probe/coopmat.comp: compiles where GL_KHR_cooperative_matrix is known. */
#version 460
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
layout(local_size_x = 1) in;
layout(binding = 0) buffer Out {
    float v[];
};
void main() {
    coopmat<float, gl_ScopeSubgroup, 8, 8, gl_MatrixUseAccumulator> m =
        coopmat<float, gl_ScopeSubgroup, 8, 8, gl_MatrixUseAccumulator>(0.0);
    coopMatStore(m, v, 0, 8, gl_CooperativeMatrixLayoutRowMajor);
}
