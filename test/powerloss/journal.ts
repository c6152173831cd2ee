/**
 * A journal: what happened to the files of a scenario, step by step, in terms of files and folders instead of calls and
 * paths. A file is numbered when it is made: an inode number and a path are used again, a file's number is not.
 */
import { lstatSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { CallRecord } from './record.ts'

/** The number of a file or a folder. */
export type ObjectId = number

/** A name in a folder that leads to another object than before, or, null, to none. */
export interface NameChange {
  readonly folder: ObjectId
  readonly name: string
  readonly to: ObjectId | null
  /** What was moved, made or removed by it. */
  readonly object: ObjectId
}

export type Step =
  | { readonly kind: 'names'; readonly changes: readonly NameChange[] }
  | { readonly kind: 'write'; readonly object: ObjectId; readonly at: number; readonly data: Buffer }
  | { readonly kind: 'size'; readonly object: ObjectId; readonly size: number }
  /** Permissions, and the owner above them. */
  | { readonly kind: 'mode'; readonly object: ObjectId; readonly mode: number }
  | { readonly kind: 'sync begins'; readonly object: ObjectId }
  /** All that was done to the object before the step `begun` is on the disk. */
  | { readonly kind: 'synced'; readonly object: ObjectId; readonly begun: number }
  | { readonly kind: 'told'; readonly words: readonly unknown[] }

export interface Journal {
  readonly steps: readonly Step[]
  /** Before this step lies what was there, and durable, when the record began. */
  readonly begin: number
  readonly root: ObjectId
  readonly folders: ReadonlySet<ObjectId>
  /** A path that each object had: for people, and to plant mistakes. */
  readonly paths: ReadonlyMap<ObjectId, string>
}

/** The name, in the root of a scenario, of the file by which its program tells what it was answered. */
export const TOLD = 'TOLD'

/** What lay in the root before the record began. */
export interface LaidObject {
  readonly path: string
  readonly inode: number
  readonly mode: number
  /** Null for a folder. */
  readonly content: Buffer | null
}

/** All below a root, a folder before what is in it. */
export function laidBelow(root: string): LaidObject[] {
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .map((entry) => join(entry.parentPath, entry.name))
    .sort()
    .map((path) => {
      const stat = lstatSync(path)
      const content = stat.isDirectory() ? null : readFileSync(path)
      return { path, inode: stat.ino, mode: modeOf(stat), content }
    })
}

/** Permissions, and the owner above them, as `record.c` packs them. */
function modeOf({ mode, uid }: { readonly mode: number; readonly uid: number }): number {
  return (mode & 0o7777) + uid * 2 ** 16
}

/** Makes the journal of a record. Throws where the record does not explain itself. */
export function journalOf(root: string, laid: readonly LaidObject[], records: readonly CallRecord[]): Journal {
  const writer = new JournalWriter(root)
  for (const each of laid) writer.lay(each)
  const begin = writer.syncAll()
  for (const record of records) if (record.path !== join(root, TOLD) || record.kind === 'w') writer.add(record)
  return { steps: writer.steps, begin, root: writer.root, folders: writer.folders, paths: writer.paths }
}

class JournalWriter {
  readonly steps: Step[] = []
  readonly folders = new Set<ObjectId>()
  readonly paths = new Map<ObjectId, string>()
  readonly root: ObjectId
  readonly #toldPath: string
  /** What each path leads to now. */
  readonly #at = new Map<string, ObjectId>()
  readonly #byInode = new Map<number, ObjectId>()
  readonly #begun = new Map<string, number>()
  #made = 0

  constructor(root: string) {
    this.#toldPath = join(root, TOLD)
    this.root = this.#number(root, lstatSync(root).ino)
    this.folders.add(this.root)
    this.#at.set(root, this.root)
  }

  lay({ path, inode, mode, content }: LaidObject): void {
    const object = this.#make(path, inode, content === null)
    this.steps.push({ kind: 'mode', object, mode })
    if (content !== null) this.steps.push({ kind: 'write', object, at: 0, data: content })
  }

  /** Answers the number of the step after. */
  syncAll(): number {
    const begun = this.steps.length
    for (let object = 1; object <= this.#made; object += 1) this.steps.push({ kind: 'synced', object, begun })
    return this.steps.length
  }

  add(record: CallRecord): void {
    const { kind, path, other, number, data } = record
    if (path === this.#toldPath) this.steps.push({ kind: 'told', words: wordsOf(data) })
    else if (kind === 'o') this.#opened(record)
    else if (kind === 'd') this.#make(path, record.inode, true)
    else if (kind === 'w') this.steps.push({ kind: 'write', object: this.#open(record), at: number, data })
    else if (kind === 't') this.steps.push({ kind: 'size', object: this.#open(record), size: number })
    else if (kind === 'm') this.steps.push({ kind: 'mode', object: this.#open(record), mode: number })
    else if (kind === 'f') this.#syncBegins(record)
    else if (kind === 'F') this.#synced(record)
    else if (kind === 'r') this.#renamed(path, other)
    else if (kind === 'l') this.#names([this.#change(other, this.#objectAt(path))])
    else if (kind === 'u') this.#names([this.#change(path, null)])
    else throw new Error(`the record cannot tell what ${other} did to ${path}`)
  }

  #number(path: string, inode: number): ObjectId {
    this.#made += 1
    this.paths.set(this.#made, path)
    this.#byInode.set(inode, this.#made)
    return this.#made
  }

  #make(path: string, inode: number, isFolder: boolean): ObjectId {
    const object = this.#number(path, inode)
    if (isFolder) this.folders.add(object)
    this.#names([this.#change(path, object)])
    return object
  }

  #opened({ path, inode, number: flags }: CallRecord): void {
    const known = this.#at.get(path)
    if (known === undefined) this.#make(path, inode, false)
    else if (this.#byInode.get(inode) !== known) throw new Error(`the record does not tell who replaced ${path}`)
    else if ((flags & O_TRUNC) !== 0) this.steps.push({ kind: 'size', object: known, size: 0 })
  }

  /** The object of an open file or folder, whatever its name is by now. */
  #open({ inode, path }: CallRecord): ObjectId {
    const object = this.#byInode.get(inode)
    if (object === undefined) throw new Error(`the record does not tell who made ${path}`)
    return object
  }

  #objectAt(path: string): ObjectId {
    const object = this.#at.get(path)
    if (object === undefined) throw new Error(`the record does not tell what lies at ${path}`)
    return object
  }

  #syncBegins(record: CallRecord): void {
    this.#begun.set(descriptorOf(record), this.steps.length)
    this.steps.push({ kind: 'sync begins', object: this.#open(record) })
  }

  #synced(record: CallRecord): void {
    const begun = this.#begun.get(descriptorOf(record))
    if (begun === undefined) throw new Error(`the record does not tell when the sync of ${record.path} began`)
    this.steps.push({ kind: 'synced', object: this.#open(record), begun })
  }

  #renamed(from: string, to: string): void {
    const object = this.#objectAt(from)
    const below = [...this.#at].filter(([path]) => path.startsWith(`${from}/`))
    if (object === this.#at.get(to)) return // two names of one file: rename(2) does nothing
    this.#names([this.#change(from, null), this.#change(to, object)])
    for (const [path, each] of below) {
      this.#at.delete(path)
      this.#at.set(to + path.slice(from.length), each)
    }
  }

  #change(path: string, to: ObjectId | null): NameChange {
    const object = to ?? this.#objectAt(path)
    if (to === null) this.#at.delete(path)
    else this.#at.set(path, to)
    return { folder: this.#objectAt(dirname(path)), name: path.slice(dirname(path).length + 1), to, object }
  }

  #names(changes: readonly NameChange[]): void {
    this.steps.push({ kind: 'names', changes })
  }
}

const O_TRUNC = 0o1000

function descriptorOf({ process, inode, number }: CallRecord): string {
  return `${process}/${inode}/${number}`
}

function wordsOf(lines: Buffer): unknown[] {
  return lines
    .toString('utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as unknown)
}

/** A journal that came from another thread or a file has plain bytes in place of buffers. */
export function withBuffers(journal: Journal): Journal {
  const steps = journal.steps.map((step) =>
    step.kind === 'write'
      ? { ...step, data: Buffer.from(step.data.buffer, step.data.byteOffset, step.data.byteLength) }
      : step,
  )
  return { ...journal, steps }
}
