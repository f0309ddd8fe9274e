# Toolchain of the libraries that ship: clang, the C libraries of other systems and a C++ library to link statically, all
# from zig's package. scripts/build-native.js passes the line of scripts/native-targets.js.
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES LACUNA_ZIG LACUNA_ZIG_TARGET LACUNA_SYSTEM LACUNA_PROCESSOR)
set(CMAKE_SYSTEM_NAME ${LACUNA_SYSTEM})
set(CMAKE_SYSTEM_PROCESSOR ${LACUNA_PROCESSOR})
set(CMAKE_C_COMPILER ${LACUNA_ZIG} cc -target ${LACUNA_ZIG_TARGET})
set(CMAKE_CXX_COMPILER ${LACUNA_ZIG} c++ -target ${LACUNA_ZIG_TARGET})
# zig checks for undefined behaviour unless told otherwise.
set(CMAKE_C_FLAGS_INIT -fno-sanitize=undefined)
set(CMAKE_CXX_FLAGS_INIT -fno-sanitize=undefined)
# `zig ar` is one program with an argument, where CMake wants the name of a program.
set(CMAKE_AR ${LACUNA_ZIG})
foreach(language C CXX)
  set(CMAKE_${language}_ARCHIVE_CREATE "<CMAKE_AR> ar qc <TARGET> <LINK_FLAGS> <OBJECTS>")
  set(CMAKE_${language}_ARCHIVE_APPEND "<CMAKE_AR> ar q <TARGET> <LINK_FLAGS> <OBJECTS>")
  set(CMAKE_${language}_ARCHIVE_FINISH "<CMAKE_AR> ar s <TARGET>")
endforeach()
# Tests of another Linux run in qemu's user mode emulation, with the C library of Debian's cross compiler.
if(LACUNA_SYSTEM STREQUAL "Linux" AND NOT LACUNA_PROCESSOR STREQUAL CMAKE_HOST_SYSTEM_PROCESSOR)
  find_program(LACUNA_QEMU NAMES qemu-${LACUNA_PROCESSOR}-static qemu-${LACUNA_PROCESSOR})
  if(LACUNA_QEMU)
    set(CMAKE_CROSSCOMPILING_EMULATOR ${LACUNA_QEMU} -L /usr/${LACUNA_PROCESSOR}-linux-gnu)
  endif()
endif()
# Do not use headers and libraries of this machine.
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_USE_CMAKE_SYSTEM_PATH OFF)
