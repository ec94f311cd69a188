# `cmake --install`: the library, its public headers and the CMake package.

include_guard(GLOBAL)
include(CMakePackageConfigHelpers)

set(lightning_package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/lightning)

install(TARGETS lightning EXPORT lightningTargets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  # The public headers: each room lists its own.
  FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
if(TARGET lightning_cuda)
  # Beside the library, which looks for it there.
  install(TARGETS lightning_cuda LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()
install(EXPORT lightningTargets NAMESPACE lightning:: DESTINATION ${lightning_package_folder})

configure_package_config_file(
  ${PROJECT_SOURCE_DIR}/cmake/lightningConfig.cmake.in
  ${PROJECT_BINARY_DIR}/package/lightningConfig.cmake
  INSTALL_DESTINATION ${lightning_package_folder})
write_basic_package_version_file(
  ${PROJECT_BINARY_DIR}/package/lightningConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES
  ${PROJECT_BINARY_DIR}/package/lightningConfig.cmake
  ${PROJECT_BINARY_DIR}/package/lightningConfigVersion.cmake
  ${PROJECT_SOURCE_DIR}/cmake/LightningPrecompileHeaders.cmake
  ${PROJECT_SOURCE_DIR}/cmake/LightningSpdlog.cmake
  ${PROJECT_SOURCE_DIR}/cmake/LightningTorch.cmake
  DESTINATION ${lightning_package_folder})
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
