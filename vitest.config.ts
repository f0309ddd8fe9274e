import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['{src,formats,converters,calibrate,test}/**/*.test.ts'],
    testTimeout: 30_000,
    // ONNX Runtime is a native addon: one process a file keeps a crash in its own file.
    pool: 'forks',
    maxWorkers: 2,
  },
});
