import { randomBytes } from 'node:crypto'
import { lstat, unlink } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { ensureFolder } from './atomic-files.ts'
import { OwnFolder } from './own-folder.ts'

/** How many things that were set aside are kept; the oldest go first, not more than some at a time. */
const KEPT_MAX = 100
const PRUNED_MAX = 200

/**
 * Moves what does not belong in a folder of a spool into `bad/` with its reason beside it, so that nothing is lost and nobody
 * trips over it again. Answers the sentence to tell. Never throws: where not even that works, it stays and the sentence says so.
 */
export async function quarantine(spool: string, from: OwnFolder, name: string, why: string): Promise<string> {
  const place = shownPlace(spool, from, name)
  const plain = name.replaceAll(/[^\w.-]/g, '_').slice(0, 100)
  const aside = `${randomBytes(6).toString('hex')}-${plain}`
  try {
    await ensureBad(spool)
    using bad = OwnFolder.open(badOf(spool))
    from.move(name, bad, aside)
    tryNote(bad, `${aside}.why`, `${join(from.path, name).slice(spool.length + 1)} ${why}\n`)
    await prune(bad).catch(() => undefined) // the next one prunes again
    return `${place} ${why}: set aside as ${basename(spool)}/bad/${aside}`
  } catch (error) {
    return `${place} ${why}; it could not be set aside (${codeOf(error)})`
  }
}

/** An entry in a spool's folder as people are told of it: somebody else may have chosen its name. */
export function shownPlace(spool: string, folder: OwnFolder, name: string): string {
  const path = join(folder.path, name).slice(spool.length + 1)
  const plain = path.replaceAll(/[^\x20-\x7e]/g, '?')
  return `${basename(spool)}/${plain.length > 120 ? `${plain.slice(0, 120)}…` : plain}`
}

export function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? String(error)
}

function badOf(spool: string): string {
  return join(spool, 'bad')
}

/** Whoever planted a link here would have what is set aside put elsewhere: it goes, since there is no place to set it aside in. */
async function ensureBad(spool: string): Promise<void> {
  const stat = await lstat(badOf(spool)).catch(() => null)
  if (stat?.isSymbolicLink() === true) await unlink(badOf(spool))
  await ensureFolder(spool)
  await ensureFolder(badOf(spool))
}

/** On a full disk it is set aside without its reason. */
function tryNote(bad: OwnFolder, name: string, why: string): void {
  try {
    bad.note(name, why)
  } catch {
    // the sentence that is told says it too
  }
}

async function prune(bad: OwnFolder): Promise<void> {
  const names = (await bad.names()).filter((name) => !name.endsWith('.why'))
  if (names.length <= KEPT_MAX) return
  const aged = names.map((name) => ({ name, at: bad.lstat(name)?.ctimeMs ?? 0 }))
  aged.sort((x, y) => x.at - y.at)
  for (const { name } of aged.slice(0, Math.min(PRUNED_MAX, names.length - KEPT_MAX))) {
    await bad.remove(name).catch(() => undefined) // a folder that only its owner may empty; the next ones go all the same
    bad.tryUnlink(`${name}.why`)
  }
}
