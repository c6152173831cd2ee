import { hash } from 'node:crypto'
import { conversationOf, type SessionId } from '#fleet/session-id.ts'
import type { SqliteConnection } from '../file/connection.ts'

/** What is remembered of a send: its draft as a SHA-256, and the message that it became. */
export interface Send {
  readonly sender: string
  readonly key: string
  readonly draft: Uint8Array
  readonly message: number
}

/** How many bytes stand for a conversation, for a sender with its key, and for a draft. */
const CONVERSATION_BYTES = 8
const KEY_BYTES = 16
const DRAFT_BYTES = 8

/** Sends whose message was removed because it was old, each in a few bytes. */
class OldSends {
  readonly #connection: SqliteConnection

  constructor(connection: SqliteConnection) {
    this.#connection = connection
  }

  /** The message that was sent with this key; undefined where there is none. */
  find(sender: SessionId, key: string): { readonly draft: Uint8Array; readonly message: number } | undefined {
    return this.#connection.get('SELECT draft, message FROM s2_old_sends WHERE print = ?', printOf(sender, key))
  }

  isAny(): boolean {
    return this.#connection.get('SELECT 1 FROM s2_old_sends LIMIT 1') !== undefined
  }

  /** Takes a send over, or only forgets it. */
  moveHere({ sender, key, draft, message }: Send, how: 'keep' | 'forget'): void {
    if (how === 'keep') {
      this.#connection.run(
        'INSERT OR IGNORE INTO s2_old_sends (print, draft, message) VALUES (?, ?, ?)',
        printOf(sender as SessionId, key),
        draft.subarray(0, DRAFT_BYTES),
        message,
      )
    }
    this.#connection.run('DELETE FROM s2_sends WHERE sender = ? AND key = ?', sender, key)
  }

  hasOf(conversation: string): boolean {
    return (
      this.#connection.get('SELECT 1 FROM s2_old_sends WHERE print BETWEEN ? AND ?', ...rangeOf(conversation)) !==
      undefined
    )
  }

  forgetOf(conversation: string): void {
    this.#connection.run('DELETE FROM s2_old_sends WHERE print BETWEEN ? AND ?', ...rangeOf(conversation))
  }
}

export type { OldSends }

export function oldSendsOf(connection: SqliteConnection): OldSends {
  return new OldSends(connection)
}

/** Whether a draft is the one that an old send had. */
export function isSameDraftPrint(draft: Uint8Array, kept: Uint8Array): boolean {
  return Buffer.compare(draft.subarray(0, kept.length), kept) === 0
}

function printOf(sender: SessionId, key: string): Uint8Array {
  const own = hash('sha256', `${sender} ${key}`, 'buffer').subarray(0, KEY_BYTES)
  return Buffer.concat([prefixOf(conversationOf(sender)), own])
}

function prefixOf(conversation: string): Uint8Array {
  return hash('sha256', conversation, 'buffer').subarray(0, CONVERSATION_BYTES)
}

function rangeOf(conversation: string): [Uint8Array, Uint8Array] {
  const prefix = prefixOf(conversation)
  return [Buffer.concat([prefix, Buffer.alloc(KEY_BYTES, 0)]), Buffer.concat([prefix, Buffer.alloc(KEY_BYTES, 255)])]
}
