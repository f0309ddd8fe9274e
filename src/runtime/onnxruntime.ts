/** ONNX Runtime for Node, loaded when it is first needed: commands that run no model start faster without it. */
import { LacunaError } from '../core/errors.ts';
import { messageOf } from '../core/text.ts';

/** Loads onnxruntime-node, without its telemetry. */
export async function loadOnnxRuntime(): Promise<typeof import('onnxruntime-node')> {
  disableTelemetry();
  return import('onnxruntime-node');
}

/**
 * Keeps ONNX Runtime, since 1.29, from reporting models, sessions and the machine to Microsoft, and from leaving files in
 * the temporary and home folders. Whoever wants the reports sets ORT_DISABLE_TELEMETRY=0.
 */
export function disableTelemetry(): void {
  process.env.ORT_DISABLE_TELEMETRY ??= '1';
}

/** The version of onnxruntime-node. Throws `runtime` when it cannot be loaded, as without a binary for a platform. */
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
