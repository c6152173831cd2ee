/** JSON-RPC 2.0, as far as a server needs it (jsonrpc.org/specification). */

export type RequestId = string | number

export interface RpcRequest {
  readonly id: RequestId
  readonly method: string
  readonly params: Readonly<Record<string, unknown>>
}

export type RpcNotification = Omit<RpcRequest, 'id'>

export type RpcAnswer =
  | { readonly jsonrpc: '2.0'; readonly id: RequestId; readonly result: object }
  | { readonly jsonrpc: '2.0'; readonly id: RequestId | null; readonly error: RpcFault }

export interface RpcFault {
  readonly code: number
  readonly message: string
  readonly data?: unknown
}

/** Codes of the specification, and two of the Model Context Protocol's revision 2026-07-28. */
export const RPC = {
  parse: -32700,
  request: -32600,
  method: -32601,
  params: -32602,
  internal: -32603,
  headerMismatch: -32020,
  unsupportedRevision: -32022,
} as const

/** A request that is refused by the protocol itself. */
export class RpcError extends Error {
  override readonly name = 'RpcError'
  readonly fault: RpcFault

  constructor(code: number, message: string, data?: unknown) {
    super(message)
    this.fault = { code, message, ...(data === undefined ? {} : { data }) }
  }
}

/** What came: a request, a notification, an answer that nobody asked for (`other`), or none of them (`bad`). */
export type Incoming =
  | { readonly is: 'request'; readonly request: RpcRequest }
  | { readonly is: 'notification'; readonly notification: RpcNotification }
  | { readonly is: 'other' }
  | { readonly is: 'bad'; readonly id: RequestId | null; readonly why: string }

export function readIncoming(message: unknown): Incoming {
  if (!isRecord(message)) return { is: 'bad', id: null, why: 'a message is a JSON object' }
  const { jsonrpc, id, method, params } = message
  const known = isId(id) ? id : null
  if (jsonrpc !== '2.0') return { is: 'bad', id: known, why: 'jsonrpc must be "2.0"' }
  if (method === undefined && ('result' in message || 'error' in message)) return { is: 'other' }
  if (typeof method !== 'string') return { is: 'bad', id: known, why: 'method must be a string' }
  if (params !== undefined && !isRecord(params)) return { is: 'bad', id: known, why: 'params must be an object' }
  if (id === undefined) return { is: 'notification', notification: { method, params: params ?? {} } }
  if (known === null) return { is: 'bad', id: null, why: 'id must be a string or a number' }
  return { is: 'request', request: { id: known, method, params: params ?? {} } }
}

export function resultOf(id: RequestId, result: object): RpcAnswer {
  return { jsonrpc: '2.0', id, result }
}

export function faultOf(id: RequestId | null, error: RpcFault): RpcAnswer {
  return { jsonrpc: '2.0', id, error }
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export function isId(value: unknown): value is RequestId {
  return typeof value === 'string' || (typeof value === 'number' && Number.isFinite(value))
}
