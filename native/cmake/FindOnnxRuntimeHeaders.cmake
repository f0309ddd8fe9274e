# OnnxRuntime::headers: only the C header. The library is the host's and is never linked.
find_path(ONNXRUNTIME_INCLUDE_DIR onnxruntime_c_api.h PATH_SUFFIXES onnxruntime onnxruntime/core/session)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(OnnxRuntimeHeaders REQUIRED_VARS ONNXRUNTIME_INCLUDE_DIR)
if(OnnxRuntimeHeaders_FOUND AND NOT TARGET OnnxRuntime::headers)
  add_library(OnnxRuntime::headers INTERFACE IMPORTED)
  target_include_directories(OnnxRuntime::headers SYSTEM INTERFACE ${ONNXRUNTIME_INCLUDE_DIR})
  if(MINGW)
    # An annotation for Microsoft's compiler, whose headers define it.
    target_compile_options(OnnxRuntime::headers INTERFACE "-D_Return_type_success_(when)=")
  endif()
endif()
