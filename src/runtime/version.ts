/** The version of ONNX Runtime that runs sessions. */
import { LacunaError } from '../core/errors.ts';
import { messageOf } from '../core/text.ts';
import { loadOnnxRuntime } from './onnxruntime.ts';

/**
 * The version of onnxruntime-node.
 *
 * @throws LacunaError `runtime` when it cannot be loaded, for example because its binary for this platform is missing.
 */
export async function runtimeVersion(): Promise<string> {
  try {
    const { env } = await loadOnnxRuntime();
    return env.versions.node ?? env.versions.common;
  } catch (cause) {
    throw new LacunaError('runtime', `onnxruntime-node cannot be loaded: ${messageOf(cause)}`, {
      cause,
      hint: 'Install it again for this platform: npm install onnxruntime-node',
    });
  }
}
