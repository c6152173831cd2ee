import { S2Error } from '#fleet/errors.ts'
import type { Keyring } from './remote/keyring.ts'
import type { Store, StoreParts } from './store.ts'

/**
 * Opens the store that a URL names: `sqlite:/path` on this host; `unix:/path` by the administration socket of a bridge on
 * this host; `https://…` or `http://…` as the sessions of the keyring; `memory:` in this process, and gone with it. Backends
 * are loaded when they are needed: a command that speaks to a bridge needs no database. Mode `read` is for those who only
 * read: the database need not exist yet.
 */
export async function openStore(
  url: string,
  parts: StoreParts,
  keyring: Keyring | null = null,
  mode: 'write' | 'read' = 'write',
): Promise<Store> {
  const database = databaseIn(url)
  if (database !== null) {
    const { openSqliteStore } = await import('./sqlite/open-sqlite-store.ts')
    return await openSqliteStore(database, parts, mode)
  }
  if (url === 'memory:') {
    const { openMemoryStore } = await import('./memory/memory.ts')
    return openMemoryStore(parts)
  }
  if (/^(unix:\/|https?:\/\/)/.test(url)) {
    const { openRemoteStore } = await import('./remote/remote.ts')
    return openRemoteStore(url, keyring, parts)
  }
  throw new S2Error('invalid', 'this is not the URL of a store', {
    next: 'write sqlite:/path, unix:/path, http://…, https://… or memory:',
  })
}

/** The database file that a store's URL names; null where it names none. */
export function databaseIn(url: string): string | null {
  return url.startsWith(DATABASE) ? url.slice(DATABASE.length) : null
}

const DATABASE = 'sqlite:'
