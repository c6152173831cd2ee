import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Credential } from '#fleet/credential.ts'
import type { StoredMessage } from '#fleet/message.ts'
import { partnerOf, type SessionId } from '#fleet/session-id.ts'

export const READER: SessionId = 'conv_0123456789abcdef/b'
export const OTHER: SessionId = 'conv_fedcba9876543210/b'

export function letter(id: number, text = `message ${id}`, to: SessionId = READER): StoredMessage {
  return { id, from: partnerOf(to), to, text, action: null, files: [], sentAt: 1_000 + id, delivery: 'queued' }
}

export function credential(fields: Partial<Credential> = {}): Credential {
  return {
    session: READER,
    token: 'k'.repeat(64),
    agent: 's2-worker-1',
    role: 'backend',
    bridgeUrl: 'http://127.0.0.1:7433',
    createdAt: 1_000,
    expiresAt: 9_000,
    ...fields,
  }
}

/** A state folder of its own, gone when disposed. */
export function tempState(): { readonly state: string } & Disposable {
  const state = mkdtempSync(join(tmpdir(), 's2-spool-'))
  return { state, [Symbol.dispose]: () => rmSync(state, { recursive: true, force: true }) }
}
