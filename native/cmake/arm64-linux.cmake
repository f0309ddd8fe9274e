# Toolchain for Linux on arm64 from Debian's cross compiler; tests run in qemu's user mode emulation.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
# Where Debian's packages put their libraries.
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
find_program(LACUNA_QEMU NAMES qemu-aarch64-static qemu-aarch64)
if(LACUNA_QEMU)
  set(CMAKE_CROSSCOMPILING_EMULATOR ${LACUNA_QEMU} -L /usr/aarch64-linux-gnu)
endif()
# Do not use headers and libraries of this machine.
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_USE_CMAKE_SYSTEM_PATH OFF)
