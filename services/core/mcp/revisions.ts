import { isRecord } from './json-rpc.ts'

/** The revision in which each request says what it speaks, without a handshake (modelcontextprotocol.io/specification). */
export const MODERN = '2026-07-28'
/** The revisions that begin with `initialize`, newest first. */
export const HANDSHAKE_REVISIONS = ['2025-11-25', '2025-06-18', '2025-03-26', '2024-11-05'] as const
export const NEWEST_HANDSHAKE = HANDSHAKE_REVISIONS[0]
export const REVISIONS = [MODERN, ...HANDSHAKE_REVISIONS] as const
export type Revision = (typeof REVISIONS)[number]

/** Where a request of the modern revision names it. */
export const REVISION_FIELD = 'io.modelcontextprotocol/protocolVersion'
const CAPABILITIES_FIELD = 'io.modelcontextprotocol/clientCapabilities'

export function revisionNamed(text: unknown): Revision | null {
  return REVISIONS.find((each) => each === text) ?? null
}

export function isModern(revision: Revision): boolean {
  return revision === MODERN
}

/** JSON-RPC has batches; the revisions from 2025-06-18 on have none. */
export function takesBatches(revision: Revision | null): boolean {
  return revision === '2025-03-26' || revision === '2024-11-05'
}

/** The revision that a request names itself; null where it names none. */
export function requestedRevision(params: Readonly<Record<string, unknown>>): {
  readonly name: string
  readonly known: Revision | null
  readonly hasCapabilities: boolean
} | null {
  const { _meta } = params
  if (!isRecord(_meta) || typeof _meta[REVISION_FIELD] !== 'string') return null
  const name = _meta[REVISION_FIELD]
  return { name, known: revisionNamed(name), hasCapabilities: isRecord(_meta[CAPABILITIES_FIELD]) }
}
