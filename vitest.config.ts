import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Tests on real models first: if the longest of them began last, one worker would be idle for minutes. */
class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    return sorted.toSorted((a, b) => Number(isReal(b)) - Number(isReal(a)));
  }
}

function isReal({ moduleId }: TestSpecification): boolean {
  return moduleId.includes('/test/real/');
}

export default defineConfig({
  test: {
    globalSetup: 'fixtures/make.js',
    testTimeout: 30_000,
    pool: 'forks',
    maxWorkers: 2,
    sequence: { sequencer: LongestFirst },
    projects: [
      // Modules are loaded once a process and not once a file, which takes a third of the time.
      {
        extends: true,
        test: { name: 'parts', include: ['{src,formats,converters,calibrate,fuzz}/**/*.test.ts'], isolate: false },
      },
      // ONNX Runtime is a native addon. With one process for each file, a crash stays in its own file.
      { extends: true, test: { name: 'whole', include: ['test/**/*.test.ts'] } },
    ],
  },
});
