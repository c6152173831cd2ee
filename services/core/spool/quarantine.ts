import { randomBytes } from 'node:crypto'
import { lstat, readdir, rename, rm, unlink, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { ensureFolder } from './atomic-files.ts'

/** How many things that were set aside are kept; the oldest go first. */
const KEPT_MAX = 100

/**
 * Moves what does not belong there into `bad/` with its reason beside it, so that nothing is lost and nobody trips over it
 * again. Answers the sentence to tell. Never throws: where not even that works, it stays and the sentence says so.
 */
export async function quarantine(spool: string, path: string, why: string): Promise<string> {
  const place = path.slice(spool.length + 1)
  const bad = join(spool, 'bad')
  const plain = basename(path)
    .replaceAll(/[^\w.-]/g, '_')
    .slice(0, 100)
  const name = `${randomBytes(6).toString('hex')}-${plain}`
  try {
    await ensureBad(spool, bad)
    await rename(path, join(bad, name))
    await writeFile(join(bad, `${name}.why`), `${place} ${why}\n`, { mode: 0o600, flag: 'wx' }).catch(() => undefined)
    await prune(bad)
    return `${basename(spool)}/${shown(place)} ${why}: set aside as ${basename(spool)}/bad/${name}`
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? String(error)
    return `${basename(spool)}/${shown(place)} ${why}; it could not be set aside (${code})`
  }
}

/** Whoever planted a link here would have what is set aside put elsewhere: it goes, since there is no place to set it aside in. */
async function ensureBad(spool: string, bad: string): Promise<void> {
  const stat = await lstat(bad).catch(() => null)
  if (stat?.isSymbolicLink() === true) await unlink(bad)
  await ensureFolder(spool)
  await ensureFolder(bad)
}

async function prune(bad: string): Promise<void> {
  const names = (await readdir(bad)).filter((name) => !name.endsWith('.why'))
  if (names.length <= KEPT_MAX) return
  const aged = await Promise.all(
    names.map(async (name) => ({ name, at: (await lstat(join(bad, name)).catch(() => null))?.ctimeMs ?? 0 })),
  )
  aged.sort((x, y) => x.at - y.at)
  for (const { name } of aged.slice(0, names.length - KEPT_MAX)) {
    await rm(join(bad, name), { recursive: true, force: true })
    await rm(join(bad, `${name}.why`), { force: true })
  }
}

/** A name that somebody else chose, fit for a log line. */
function shown(name: string): string {
  const plain = name.replaceAll(/[^\x20-\x7e]/g, '?')
  return plain.length > 120 ? `${plain.slice(0, 120)}…` : plain
}
