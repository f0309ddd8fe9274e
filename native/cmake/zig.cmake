# Toolchain of the libraries that ship: clang, the C libraries of other systems and a C++ library to link statically, all
# from zig's package. scripts/build-native.js passes the line of scripts/native-targets.js.
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES LACUNA_ZIG LACUNA_ZIG_TARGET LACUNA_SYSTEM LACUNA_PROCESSOR)
set(CMAKE_SYSTEM_NAME ${LACUNA_SYSTEM})
set(CMAKE_SYSTEM_PROCESSOR ${LACUNA_PROCESSOR})
set(CMAKE_C_COMPILER ${LACUNA_ZIG} cc -target ${LACUNA_ZIG_TARGET})
set(CMAKE_CXX_COMPILER ${LACUNA_ZIG} c++ -target ${LACUNA_ZIG_TARGET})
# zig checks for undefined behaviour unless told otherwise, and adds what debuggers read. That takes two fifths of the time again,
# and what is linked is stripped of it.
set(CMAKE_C_FLAGS_INIT "-fno-sanitize=undefined -g0")
set(CMAKE_CXX_FLAGS_INIT "-fno-sanitize=undefined -g0")
set(CMAKE_AR ${CMAKE_CURRENT_LIST_DIR}/zig-ar)
# CMake asks for a compiler of Windows' resources, and there are none.
set(CMAKE_RC_COMPILER ${LACUNA_ZIG})
# Tests for Windows run in Wine. Those of another Linux run in qemu's user mode emulation, with the C library of Debian's cross compiler.
if(LACUNA_SYSTEM STREQUAL "Linux" AND NOT LACUNA_PROCESSOR STREQUAL CMAKE_HOST_SYSTEM_PROCESSOR)
  find_program(LACUNA_QEMU NAMES qemu-${LACUNA_PROCESSOR}-static qemu-${LACUNA_PROCESSOR})
  if(LACUNA_QEMU)
    set(CMAKE_CROSSCOMPILING_EMULATOR ${LACUNA_QEMU} -L /usr/${LACUNA_PROCESSOR}-linux-gnu)
  endif()
endif()
if(LACUNA_SYSTEM STREQUAL "Windows")
  find_program(LACUNA_WINE NAMES wine64 PATHS /usr/lib/wine)
  if(LACUNA_WINE)
    set(CMAKE_CROSSCOMPILING_EMULATOR ${LACUNA_WINE})
  endif()
endif()
# Do not use headers and libraries of this machine.
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_USE_CMAKE_SYSTEM_PATH OFF)
