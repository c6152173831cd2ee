import { createHash } from 'node:crypto'
import { deflateSync } from 'node:zlib'

/** Kinds of objects in a pack. gitformat-pack(5) */
const KINDS = { commit: 1, tree: 2, blob: 3, delta: 6 } as const

type Kind = Exclude<keyof typeof KINDS, 'delta'>

/** An object that is written as it is; its id is known. */
export interface PlainObject {
  readonly kind: Kind
  readonly content: Buffer
  readonly id: string
}

interface Entry {
  readonly kind: keyof typeof KINDS
  /** Bytes once it is unpacked; of a delta: of its instructions. */
  readonly size: number
  readonly deflated: Buffer
}

/** A pack that may hold what no honest git writes. */
export class Pack {
  readonly #parts: Buffer[] = []
  readonly #offsets: number[] = []
  #end = 12

  /** Adds an object; answers its place in the pack. */
  add({ kind, content }: Pick<PlainObject, 'kind' | 'content'>): number {
    return this.addDeflated({ kind, size: content.length, deflated: deflateSync(content, { level: 1 }) })
  }

  addDeflated({ kind, size, deflated }: Entry): number {
    return this.#write(Buffer.concat([header(KINDS[kind], size), deflated]))
  }

  /** Adds an object that is made from the one at `base` by copying it over and over: a few bytes for as many as wanted. */
  addCopies(base: number, baseSize: number, times: number): number {
    const copy = copyInstruction(baseSize)
    return this.addDelta(base, baseSize, baseSize * times, Buffer.concat(Array.from({ length: times }, () => copy)))
  }

  addDelta(base: number, baseSize: number, size: number, instructions: Buffer): number {
    const delta = Buffer.concat([variableLength(baseSize), variableLength(size), instructions])
    const back = this.#end - (this.#offsets[base] ?? 0)
    return this.#write(
      Buffer.concat([header(KINDS.delta, delta.length), offset(back), deflateSync(delta, { level: 1 })]),
    )
  }

  bytes(): Buffer {
    const head = Buffer.alloc(12)
    head.write('PACK')
    head.writeUInt32BE(2, 4)
    head.writeUInt32BE(this.#offsets.length, 8)
    const pack = Buffer.concat([head, ...this.#parts])
    return Buffer.concat([pack, createHash('sha1').update(pack).digest()])
  }

  #write(entry: Buffer): number {
    this.#offsets.push(this.#end)
    this.#parts.push(entry)
    this.#end += entry.length
    return this.#offsets.length - 1
  }
}

export function object(kind: Kind, content: Buffer | string): PlainObject {
  const bytes = Buffer.from(content)
  const id = createHash('sha1').update(`${kind} ${bytes.length}\0`).update(bytes).digest('hex')
  return { kind, content: bytes, id }
}

/** An entry of a tree: mode, name and id. */
export type TreeEntry = readonly [mode: string, name: string, id: string]

export function tree(entries: readonly TreeEntry[]): PlainObject {
  const bytes = entries.map(([mode, name, id]) =>
    Buffer.concat([Buffer.from(`${mode} ${name}\0`), Buffer.from(id, 'hex')]),
  )
  return object('tree', Buffer.concat(bytes))
}

export function commit(treeId: string): PlainObject {
  const who = 't <t@example.org> 1700000000 +0000'
  return object('commit', `tree ${treeId}\nauthor ${who}\ncommitter ${who}\n\nchange\n`)
}

function header(kind: number, size: number): Buffer {
  const bytes = [(kind << 4) | (size % 16)]
  for (let rest = Math.floor(size / 16); rest > 0; rest = Math.floor(rest / 128)) {
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) | 0x80
    bytes.push(rest % 128)
  }
  return Buffer.from(bytes)
}

function offset(back: number): Buffer {
  const bytes = [back % 128]
  for (let rest = Math.floor(back / 128); rest > 0; rest = Math.floor(rest / 128)) {
    rest -= 1
    bytes.unshift(0x80 | (rest % 128))
  }
  return Buffer.from(bytes)
}

function variableLength(size: number): Buffer {
  const bytes = [size % 128]
  for (let rest = Math.floor(size / 128); rest > 0; rest = Math.floor(rest / 128)) {
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) | 0x80
    bytes.push(rest % 128)
  }
  return Buffer.from(bytes)
}

/** Copies the whole base, which has at most 16 MB. */
function copyInstruction(size: number): Buffer {
  return Buffer.from([0x80 | 0x70, size & 0xff, (size >> 8) & 0xff, (size >> 16) & 0xff])
}
