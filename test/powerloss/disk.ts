/**
 * What may be on the disk after a loss of power: the model.
 *
 * - Content: of each page of a file that was written since its last sync, any version, each page by itself; one may be torn
 *   between two versions at the border of a sector. The size is any of those since then; what never came is zeros. Where a file
 *   is cut, its end is gone as a whole or not at all, and what is written after that is there only if the cut is.
 * - Permissions and owner: any since the last sync of the object.
 * - Names: what one call does (make, link, rename, remove) is there as a whole or not at all. It is durable when any folder that
 *   it touches was synced afterwards. What was done to one object comes in order; else any subset may be there.
 */
import { hash } from 'node:crypto'
import type { Journal, NameChange, ObjectId, Step } from './journal.ts'

const PAGE = 4096
const SECTOR = 512

/** The content of a page; equal pages have one number. */
interface Page {
  readonly bytes: Buffer
  readonly number: number
}

interface Version<T> {
  readonly value: T
  /** The step that made it. */
  readonly at: number
}

interface FileVersions {
  readonly pages: Map<number, Version<Page>[]>
  sizes: Version<number>[]
  /** The steps that made it shorter since its last sync. */
  readonly shortened: number[]
}

interface ChangedNames {
  readonly at: number
  readonly changes: readonly NameChange[]
  isDurable: boolean
}

/** Something that may be there in more than one version. */
interface Loose {
  readonly object: ObjectId
  readonly what: 'size' | 'mode' | number
  readonly versions: readonly Version<unknown>[]
}

/** A moment at which the power is lost: right before a step. */
export interface Cut {
  readonly told: readonly unknown[]
  readonly files: ReadonlyMap<ObjectId, FileVersions>
  readonly modes: ReadonlyMap<ObjectId, readonly Version<number>[]>
  readonly names: readonly ChangedNames[]
  readonly loose: readonly Loose[]
}

/** A file or a folder after the loss of power, by its path below the root. */
export interface DiskEntry {
  readonly path: string
  readonly mode: number
  /** Null for a folder. */
  readonly file: { readonly size: number; readonly pages: ReadonlyMap<number, Page> } | null
}

export interface DiskState {
  readonly entries: readonly DiskEntry[]
  /** Equal where all is equal that is there and that was told. */
  readonly key: string
  /** Something had been done and is not there; and beside it, something that was done later is there. */
  readonly isDropped: boolean
  readonly isReordered: boolean
  readonly isTorn: boolean
}

export type Random = () => number

export function randomOf(seed: number): Random {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** A file as its writer knows it. */
interface KnownFile {
  size: number
  readonly pages: Map<number, Page>
}

/** What a step made of its file. */
interface Effect {
  readonly size: number
  readonly pages: readonly (readonly [number, Page])[]
}

/** The states that a disk may be in, of one journal. */
export class Disk {
  readonly #journal: Journal
  readonly #pages = new Map<string, Page>()
  readonly #zeros: Page
  /** By the number of the step. */
  readonly #effects: readonly (Effect | undefined)[]

  constructor(journal: Journal) {
    this.#journal = journal
    this.#zeros = this.#page(Buffer.alloc(PAGE))
    const files = new Map<ObjectId, KnownFile>()
    this.#effects = journal.steps.map((step) => {
      if (step.kind !== 'write' && step.kind !== 'size') return undefined
      const file = files.get(step.object) ?? { size: 0, pages: new Map() }
      files.set(step.object, file)
      const effect = step.kind === 'write' ? this.#written(file, step) : this.#sized(file, step.size)
      for (const [number, page] of effect.pages) file.pages.set(number, page)
      file.size = effect.size
      return effect
    })
  }

  /** All that may be there when the power is lost before a step. */
  cutAt(end: number): Cut {
    const { steps } = this.#journal
    const synced = syncedBefore(steps, end)
    const files = new Map<ObjectId, FileVersions>()
    const modes = new Map<ObjectId, Version<number>[]>()
    const names: ChangedNames[] = []
    const told: unknown[] = []
    const isSynced = (object: ObjectId, at: number): boolean => at < (synced.get(object) ?? 0)
    for (const [at, step] of steps.slice(0, end).entries()) {
      if (step.kind === 'told') told.push(...step.words)
      else if (step.kind === 'names') {
        const isDurable = step.changes.some(({ folder }) => isSynced(folder, at))
        names.push({ at, changes: step.changes, isDurable })
      } else if (step.kind === 'mode') {
        // The mode that an object is made with comes with it.
        const versions = modes.get(step.object) ?? []
        modes.set(step.object, withVersion(versions, { value: step.mode, at }, isSynced(step.object, at)))
      } else if (step.kind === 'write' || step.kind === 'size') {
        const file = files.get(step.object) ?? { pages: new Map(), sizes: [{ value: 0, at: -1 }], shortened: [] }
        files.set(step.object, file)
        this.#apply(file, this.#effects[at] as Effect, at, isSynced(step.object, at))
      }
    }
    makeEarlierDurable(names)
    return { told, files, modes, names, loose: looseOf(files, modes) }
  }

  /**
   * One of the states: the first has nothing that is not durable, the second has all; then, for each thing, first for names, all
   * but that one and that one alone; then any by chance.
   */
  stateOf(cut: Cut, number: number, random: Random): DiskState {
    const choice = new Choice(cut, number, random)
    const names = choice.names()
    const chosen = new Map<ObjectId, Map<Loose['what'], unknown>>()
    let isTorn = false
    const spans = choice.spans()
    for (const { object, what, versions: all } of cut.loose) {
      const versions = within(all, spans.get(object))
      let value = choice.version(versions).value
      if (typeof what === 'number' && choice.tears) {
        const other = choice.any(versions).value as Page
        const torn = other === value ? other : this.#torn(value as Page, other, choice.sector())
        isTorn ||= torn !== value && torn !== other
        value = torn
      }
      const ofObject = chosen.get(object) ?? new Map<Loose['what'], unknown>()
      chosen.set(object, ofObject.set(what, value))
    }
    const entries = this.#entriesOf(cut, names, chosen)
    const { isDropped, isReordered } = choice
    return { entries, key: keyOf(entries, cut.told.length), isDropped, isReordered, isTorn }
  }

  #apply(file: FileVersions, { size, pages }: Effect, at: number, isSynced: boolean): void {
    for (const [number, value] of pages) {
      const versions = file.pages.get(number) ?? [{ value: this.#zeros, at: -1 }]
      file.pages.set(number, withVersion(versions, { value, at }, isSynced))
    }
    if (size < (file.sizes.at(-1)?.value ?? 0) && !isSynced) file.shortened.push(at)
    file.sizes = withVersion(file.sizes, { value: size, at }, isSynced)
  }

  #written(file: KnownFile, { at, data }: { readonly at: number; readonly data: Buffer }): Effect {
    const pages: [number, Page][] = []
    for (let done = 0; done < data.length; ) {
      const number = Math.floor((at + done) / PAGE)
      const from = at + done - number * PAGE
      const count = Math.min(PAGE - from, data.length - done)
      const bytes = Buffer.from((file.pages.get(number) ?? this.#zeros).bytes)
      data.copy(bytes, from, done, done + count)
      pages.push([number, this.#page(bytes)])
      done += count
    }
    return { size: Math.max(file.size, at + data.length), pages }
  }

  #sized(file: KnownFile, size: number): Effect {
    const pages: [number, Page][] = []
    for (const [number, page] of file.pages) {
      const from = Math.max(0, size - number * PAGE)
      if (from < PAGE) pages.push([number, this.#page(Buffer.from(page.bytes).fill(0, from))])
    }
    return { size, pages }
  }

  #page(bytes: Buffer): Page {
    const digest = hash('sha1', bytes, 'base64')
    const known = this.#pages.get(digest)
    if (known !== undefined) return known
    const page = { bytes, number: this.#pages.size }
    this.#pages.set(digest, page)
    return page
  }

  #torn(one: Page, other: Page, sector: number): Page {
    const bytes = Buffer.from(one.bytes)
    other.bytes.copy(bytes, sector * SECTOR, sector * SECTOR)
    return this.#page(bytes)
  }

  #entriesOf(
    cut: Cut,
    names: ReadonlyMap<ObjectId, ReadonlyMap<string, ObjectId>>,
    chosen: ReadonlyMap<ObjectId, ReadonlyMap<Loose['what'], unknown>>,
  ): DiskEntry[] {
    const entries: DiskEntry[] = []
    const walk = (folder: ObjectId, above: string): void => {
      for (const [name, object] of names.get(folder) ?? []) {
        const path = `${above}/${name}`
        const of = chosen.get(object)
        const isFolder = this.#journal.folders.has(object)
        const mode = (of?.get('mode') ?? cut.modes.get(object)?.at(-1)?.value ?? (isFolder ? 0o700 : 0o600)) as number
        entries.push({ path, mode, file: isFolder ? null : this.#fileOf(cut.files.get(object), of) })
        if (isFolder) walk(object, path)
      }
    }
    walk(this.#journal.root, '')
    return entries.sort((one, other) => (one.path < other.path ? -1 : 1))
  }

  #fileOf(versions: FileVersions | undefined, chosen: ReadonlyMap<Loose['what'], unknown> | undefined) {
    const size = (chosen?.get('size') ?? versions?.sizes.at(-1)?.value ?? 0) as number
    const pages = new Map<number, Page>()
    for (const [number, each] of versions?.pages ?? []) {
      const page = (chosen?.get(number) ?? each.at(-1)?.value) as Page
      if (number * PAGE < size && page !== this.#zeros) pages.set(number, page)
    }
    return { size, pages }
  }
}

/** How many states have, by plan, one change of names that is missing or alone. */
export function statesOfNames({ names }: Cut): number {
  return 2 + 2 * names.filter(({ isDurable }) => !isDurable).length
}

/** The content of a file, in a buffer that is used again for the next one. */
export function contentOf({ size, pages }: NonNullable<DiskEntry['file']>, buffer: Buffer): Buffer {
  const content = buffer.length >= size ? buffer.subarray(0, size).fill(0) : Buffer.alloc(size)
  for (const [number, { bytes }] of pages) bytes.copy(content, number * PAGE, 0, Math.min(PAGE, size - number * PAGE))
  return content
}

/** The steps between two cuts of a file, the first of which is there and the second not. */
interface Span {
  readonly from: number
  readonly to: number
}

function within<T>(versions: readonly Version<T>[], span: Span | undefined): readonly Version<T>[] {
  if (span === undefined) return versions
  const before = versions.filter(({ at }) => at < span.to)
  return before.slice(
    Math.max(
      0,
      before.findIndex(({ at }) => at === span.from),
    ),
  )
}

/** For each object the step before which all that was done to it is durable. */
function syncedBefore(steps: readonly Step[], end: number): Map<ObjectId, number> {
  const synced = new Map<ObjectId, number>()
  for (const step of steps.slice(0, end)) {
    if (step.kind !== 'synced') continue
    synced.set(step.object, Math.max(synced.get(step.object) ?? 0, step.begun))
  }
  return synced
}

function withVersion<T>(versions: readonly Version<T>[], version: Version<T>, isSynced: boolean): Version<T>[] {
  if (isSynced) return [version]
  return versions.at(-1)?.value === version.value ? [...versions] : [...versions, version]
}

/** What was done to one object comes in order: what was done before something durable is durable. */
function makeEarlierDurable(names: readonly ChangedNames[]): void {
  const durable = new Set<ObjectId>()
  for (const each of names.toReversed()) {
    each.isDurable ||= each.changes.some(({ object }) => durable.has(object))
    if (each.isDurable) for (const { object } of each.changes) durable.add(object)
  }
}

function looseOf(files: Cut['files'], modes: Cut['modes']): Loose[] {
  const loose: Loose[] = []
  for (const [object, { pages, sizes }] of files) {
    for (const [what, versions] of pages) if (versions.length > 1) loose.push({ object, what, versions })
    if (sizes.length > 1) loose.push({ object, what: 'size', versions: sizes })
  }
  for (const [object, versions] of modes) {
    if (versions.length > 1) loose.push({ object, what: 'mode', versions })
  }
  return loose
}

/** Which versions are there, and which changes of names: by the number of the state, and by chance. */
class Choice {
  isDropped = false
  isReordered = false
  readonly #cut: Cut
  readonly #random: Random
  readonly #isThere: (index: number) => 'newest' | 'oldest' | 'any'
  readonly #isByChance: boolean
  #index = 0
  #firstDropped = Number.POSITIVE_INFINITY

  constructor(cut: Cut, number: number, random: Random) {
    const cuts = [...cut.files.values()].reduce((sum, { shortened }) => sum + shortened.length, 0)
    const pieces = cut.loose.length + cuts + cut.names.filter(({ isDurable }) => !isDurable).length
    const odds = [0.1, 0.5, 0.9][number % 3] as number
    this.#cut = cut
    this.#random = random
    this.#isByChance = number >= 2 + 2 * pieces
    if (number === 0) this.#isThere = () => 'oldest'
    else if (number === 1) this.#isThere = () => 'newest'
    else if (!this.#isByChance) {
      const one = Math.floor(number / 2) - 1
      const [ofOne, ofOthers] = number % 2 === 0 ? (['oldest', 'newest'] as const) : (['newest', 'oldest'] as const)
      this.#isThere = (index) => (index === one ? ofOne : ofOthers)
    } else this.#isThere = () => (random() >= odds ? 'oldest' : random() < 0.8 ? 'newest' : 'any')
  }

  /** What each folder holds. */
  names(): Map<ObjectId, Map<string, ObjectId>> {
    const names = new Map<ObjectId, Map<string, ObjectId>>()
    const held = new Set<ObjectId>()
    for (const { at, changes, isDurable } of this.#cut.names) {
      const isThere = isDurable || (this.#next() === 'newest' && !changes.some(({ object }) => held.has(object)))
      if (!isDurable) this.#note(at, isThere)
      if (!isThere) for (const { object } of changes) held.add(object)
      else {
        for (const { folder, name, to } of changes) {
          const within = names.get(folder) ?? new Map<string, ObjectId>()
          names.set(folder, within)
          if (to === null) within.delete(name)
          else within.set(name, to)
        }
      }
    }
    return names
  }

  /** For each file that was cut, from which cut to which. */
  spans(): Map<ObjectId, Span> {
    const spans = new Map<ObjectId, Span>()
    for (const [object, { shortened }] of this.#cut.files) {
      const isThere = shortened.map((at) => {
        const came = this.#next() === 'newest'
        this.#note(at, came)
        return came
      })
      const count = isThere.includes(false) ? isThere.indexOf(false) : shortened.length
      const span = { from: shortened[count - 1] ?? -1, to: shortened[count] ?? Number.POSITIVE_INFINITY }
      if (shortened.length > 0) spans.set(object, span)
    }
    return spans
  }

  version<T>(versions: readonly Version<T>[]): Version<T> {
    const which = this.#next()
    const version =
      which === 'any' ? this.any(versions) : ((which === 'newest' ? versions.at(-1) : versions[0]) as Version<T>)
    const last = versions.at(-1) as Version<T>
    this.#note(
      version === last ? last.at : (versions[versions.indexOf(version) + 1] as Version<T>).at,
      version === last,
    )
    return version
  }

  any<T>(versions: readonly Version<T>[]): Version<T> {
    return versions[Math.floor(this.#random() * versions.length)] as Version<T>
  }

  get tears(): boolean {
    return this.#isByChance && this.#random() < 0.2
  }

  sector(): number {
    return 1 + Math.floor(this.#random() * (PAGE / SECTOR - 1))
  }

  #next(): 'newest' | 'oldest' | 'any' {
    const which = this.#isThere(this.#index)
    this.#index += 1
    return which
  }

  #note(at: number, isThere: boolean): void {
    if (!isThere) {
      this.isDropped = true
      this.#firstDropped = Math.min(this.#firstDropped, at)
    } else if (at > this.#firstDropped) this.isReordered = true
  }
}

function keyOf(entries: readonly DiskEntry[], told: number): string {
  let text = `${told}`
  for (const { path, mode, file } of entries) {
    text += `\n${path} ${mode}`
    if (file === null) continue
    text += ` ${file.size}`
    for (const [at, { number }] of file.pages) text += ` ${at}:${number}`
  }
  return hash('sha1', text, 'base64').slice(0, 16)
}
