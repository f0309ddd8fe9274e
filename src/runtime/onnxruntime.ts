/** ONNX Runtime for Node, loaded when it is first needed: commands that run no model start faster without it. */
import { LacunaError } from '../core/errors.ts';
import { messageOf } from '../core/text.ts';

/** Loads onnxruntime-node, without its telemetry. */
export async function loadOnnxRuntime(): Promise<typeof import('onnxruntime-node')> {
  disableTelemetry();
  return import('onnxruntime-node');
}

/**
 * Keeps ONNX Runtime from reporting models, sessions and the machine to Microsoft, and from leaving files in the temporary
 * folder and in the home folder: it does so since version 1.29, unless this variable is set before it starts. Whoever wants
 * the reports sets ORT_DISABLE_TELEMETRY=0.
 */
export function disableTelemetry(): void {
  process.env.ORT_DISABLE_TELEMETRY ??= '1';
}

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
