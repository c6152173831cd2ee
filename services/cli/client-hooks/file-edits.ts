import { existsSync, lstatSync, mkdirSync, realpathSync, statSync } from 'node:fs'
import { rmdir, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import { S2Error } from '#fleet/errors.ts'
import { ensureDurableFolder, syncPath } from '#runtime/durable-folder.ts'
import { publish } from '#spool/atomic-files.ts'
import { type PlainFile, readPlainFile } from '#spool/plain-file.ts'
import { JsonError } from './json-spans.ts'

/** A change of a file that belongs to a person, and how it is taken back. Both throw JsonError where the file is broken. */
export interface FileEdit {
  readonly path: string
  /** Whether the file may be a link: one of a person's own folder may, one of a repository leads wherever its author likes. */
  readonly mayBeLink: boolean
  /** Whether what is put in is for nobody else on this machine. */
  readonly isSecret?: boolean
  install(text: string): string
  uninstall(text: string): string
}

/** The edits with one for each file: what several change in one is planned together. */
export function byFile(edits: readonly FileEdit[]): FileEdit[] {
  return [...Map.groupBy(edits, ({ path }) => path).values()].map(([first, ...others]) => ({
    ...(first as FileEdit),
    install: (text) => others.reduce((edited, each) => each.install(edited), first?.install(text) ?? text),
    uninstall: (text) => others.reduce((edited, each) => each.uninstall(edited), first?.uninstall(text) ?? text),
  }))
}

/** What is to become of a file, or has become of it. */
export interface FileChange {
  readonly path: string
  /** Null for a file that is not there. */
  readonly before: string | null
  readonly after: string | null
}

/** Bytes of the largest file anybody reads: Claude Code keeps its history of projects in one. */
const FILE_MAX = 16 * 1024 * 1024
const BACKUP = '.before-s2'

/** What installing would change; nothing is written. Throws `invalid` for a file that is broken, or is none. */
export async function planInstall(edit: FileEdit): Promise<FileChange> {
  const before = await read(edit)
  return { path: edit.path, before, after: edited(edit, () => edit.install(before ?? ''), before) }
}

/**
 * What uninstalling would change: where nothing but the installation changed the file, it becomes what it was, to the letter, or goes
 * where there was none.
 */
export async function planUninstall(edit: FileEdit): Promise<FileChange> {
  const before = await read(edit)
  if (before === null) return { path: edit.path, before, after: null }
  const kept = await backupOf(edit)
  if (kept !== null && isInstalledOn(edit, kept, before)) {
    return { path: edit.path, before, after: kept }
  }
  const after = edited(edit, () => edit.uninstall(before), before)
  const isNothing = kept === null && after !== before && /^\s*(?:\{\s*\}\s*)?$/.test(after)
  return { path: edit.path, before, after: isNothing ? null : after }
}

/** A copy that S2 did not make may hold anything. */
function isInstalledOn(edit: FileEdit, kept: string, text: string): boolean {
  try {
    return edit.install(kept) === text
  } catch {
    return false
  }
}

/**
 * Writes what was planned; the first change keeps the file as it was beside it, and the last takes that away. Throws `unavailable` where
 * the system does not let it, as in a home that is read-only.
 */
export async function carryOut(edit: FileEdit, change: FileChange, isInstalling: boolean): Promise<void> {
  await write(edit, change, isInstalling).catch((error: Error) => {
    if (error instanceof S2Error) throw error
    throw new S2Error('unavailable', `${edit.path} cannot be written (${error.message}): it is as it was`, {
      next: 'make it writable, or put in yourself what --dry-run shows',
      cause: error,
    })
  })
}

async function write(edit: FileEdit, { before, after }: FileChange, isInstalling: boolean): Promise<void> {
  const path = placeOf(edit)
  const backup = `${path}${BACKUP}`
  if (before !== after) {
    const now = await read(edit)
    if (now === after) return
    if (now !== before)
      throw new S2Error('conflict', `${edit.path} was changed meanwhile: nothing was written`, {
        next: 'call the command again',
      })
    if (isInstalling && before !== null && !existsSync(backup)) await publish(backup, before, modeOf(path))
    if (after === null) await removeWithFolder(path)
    else {
      const mode = isInstalling ? modeOf(path) & (edit.isSecret === true ? 0o700 : 0o777) : modeOf(backup, path)
      await ensureDurableFolder(dirname(path), (folder) => mkdirSync(folder, { recursive: true }))
      await publish(path, after, mode)
    }
  }
  if (!isInstalling) await unlink(backup).catch(() => undefined)
}

async function read(edit: FileEdit): Promise<string | null> {
  // Whoever replaced a file of another user would make it its own, which that user's client could not read.
  const file = await readPlainFile(placeOf(edit), FILE_MAX, 'own').catch((error: Error) => {
    throw refused(edit.path, error.message)
  })
  return textOf(file)
}

/** With its byte order mark, so that it is written again as it was. */
function textOf(file: PlainFile | null): string | null {
  return file === null ? null : (file.isMarked ? '\ufeff' : '') + file.text
}

async function backupOf(edit: FileEdit): Promise<string | null> {
  const file = await readPlainFile(`${placeOf(edit)}${BACKUP}`, FILE_MAX).catch(() => null)
  return textOf(file)
}

/** The file itself, where a link leads to it. */
function placeOf({ path, mayBeLink }: FileEdit): string {
  if (!mayBeLink) demandNoLink(path)
  if (!isLink(path)) return path
  if (!existsSync(path)) throw refused(path, 'is a link that leads nowhere')
  return realpathSync(path)
}

/** Neither the file nor a folder of a client that it lies in. */
function demandNoLink(path: string): void {
  for (let at = path; at === path || CLIENTS_FOLDER.test(at); at = dirname(at))
    if (isLink(at)) throw refused(at, 'is a link, and whoever made the repository chose where to')
}

function isLink(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true
}

function edited(edit: FileEdit, act: () => string, text: string | null): string {
  try {
    return act()
  } catch (error) {
    if (!(error instanceof JsonError)) throw error
    const line = (text ?? '').slice(0, error.at).split('\n').length
    throw refused(edit.path, `${error.message} (line ${line})`)
  }
}

function refused(path: string, why: string): S2Error {
  return new S2Error('invalid', `${path} ${why}: nothing was changed`, {
    next: 'mend the file, then call the command again',
  })
}

/** The permissions of the first of these files that is there; else for its owner alone. */
function modeOf(...paths: readonly string[]): number {
  const stats = paths.map((path) => statSync(path, { throwIfNoEntry: false }))
  return (stats.find((stat) => stat !== undefined)?.mode ?? 0o600) & 0o777
}

/** The folder goes with its only file, where clients and we are the only ones who make it. None comes back after a loss of power. */
async function removeWithFolder(path: string): Promise<void> {
  await unlink(path)
  let folder = dirname(path)
  while (CLIENTS_FOLDER.test(folder) && (await isRemoved(folder))) folder = dirname(folder)
  await syncPath(folder)
}

const CLIENTS_FOLDER = /\/(?:\.(?:claude|codex|gemini|opencode)|opencode|plugins)$/

async function isRemoved(folder: string): Promise<boolean> {
  return await rmdir(folder).then(
    () => true,
    () => false,
  )
}
