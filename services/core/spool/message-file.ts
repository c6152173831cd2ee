import { textHead } from '#fleet/cut-text.ts'
import { DELIVERY, type Delivery, type StoredMessage } from '#fleet/message.ts'
import { parseSession, type SessionId } from '#fleet/session-id.ts'
import type { OwnFolder } from './own-folder.ts'
import { invalid, parseObject } from './plain-file.ts'

/** Bytes of the largest message file anybody reads; every text we write fits, each character escaped. */
export const MESSAGE_FILE_MAX = 4 * 1024 * 1024
/** Characters of a text that a foreign writer may have made longer than ours are; beyond it is cut, and says so. */
const TEXT_KEPT_MAX = 500_000

export function formatMessage(message: StoredMessage): string {
  const { text } = message
  const kept =
    text.length <= TEXT_KEPT_MAX
      ? text
      : `${textHead(text, TEXT_KEPT_MAX)}\n[cut here: ${text.length} characters are more than an inbox keeps]`
  return `${JSON.stringify({ ...message, text: kept })}\n`
}

/** Reads a message file; null where there is none, `invalid` with the reason where it is none of ours. */
export async function readMessage(folder: OwnFolder, name: string): Promise<StoredMessage | null> {
  const file = await folder.read(name, MESSAGE_FILE_MAX)
  return file === null ? null : parseMessage(file.text)
}

/** The same at once. */
export function readMessageSync(folder: OwnFolder, name: string): StoredMessage | null {
  const text = folder.readSync(name, MESSAGE_FILE_MAX)
  return text === null ? null : parseMessage(text)
}

function parseMessage(text: string): StoredMessage {
  const { id, from, to, sender, text: words, action, files, sentAt, delivery } = parseObject(text)
  if (!isMessageId(id)) throw invalid('has an id that is none')
  if (typeof words !== 'string') throw invalid('has no text')
  if (action !== null && typeof action !== 'string') throw invalid('has an action that is no text')
  if (!Array.isArray(files) || files.some((each) => typeof each !== 'string')) throw invalid('has no list of files')
  if (sender !== undefined && typeof sender !== 'string') throw invalid('names a sender that is no text')
  if (typeof sentAt !== 'number') throw invalid('has no time')
  if (!DELIVERY.includes(delivery as Delivery)) throw invalid('has no delivery state')
  return {
    id,
    from: session(from),
    to: session(to),
    ...(sender === undefined ? {} : { sender }),
    text: words,
    action,
    files: files as string[],
    sentAt,
    delivery: delivery as Delivery,
  }
}

export function isMessageId(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) > 0
}

function session(value: unknown): SessionId {
  if (typeof value !== 'string') throw invalid('names no sender or reader')
  parseSession(value)
  return value as SessionId
}
