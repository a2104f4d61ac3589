// Error answers in vLLM's shape; every status that the simulator gives is made here.

/** An error that the client gets as `{"error": {message, type, param, code}}`. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly status: number;
  readonly type: string;
  readonly param: string | null;

  constructor(status: number, type: string, message: string, param: string | null = null) {
    super(message);
    this.status = status;
    this.type = type;
    this.param = param;
  }

  /** Body of the answer. */
  body(): string {
    return JSON.stringify({
      error: { message: this.message, type: this.type, param: this.param, code: this.status },
    });
  }
}

export const badRequest = (message: string, param: string | null = null): ApiError =>
  new ApiError(400, "BadRequestError", message, param);

export const invalidJson = (reason: string): ApiError =>
  new ApiError(
    400,
    "Bad Request",
    `1 validation error:\n  {'type': 'json_invalid', 'msg': 'JSON decode error: ${reason}'}`,
    "body",
  );

export const unknownModel = (asked: string, served: string): ApiError =>
  new ApiError(
    404,
    "NotFoundError",
    `The model \`${asked}\` does not exist. Valid aliases: ${served}.`,
    "model",
  );

export const notFound = (path: string): ApiError => new ApiError(404, "NotFoundError", `Not Found: ${path}`);

export const methodNotAllowed = (): ApiError =>
  new ApiError(405, "MethodNotAllowedError", "Method Not Allowed");

export const scaleOutDisabled = (): ApiError =>
  new ApiError(
    403,
    "PermissionDeniedError",
    "Scale-out endpoints are disabled. Restart vllm serve with --enable-scale-out to enable them.",
  );

export const transferFailed = (): ApiError =>
  new ApiError(500, "InternalServerError", "KV load failed: the remote blocks could not be read.");

export const tooLarge = (limit: number): ApiError =>
  new ApiError(413, "RequestEntityTooLargeError", `The request body is longer than ${limit} bytes.`);
