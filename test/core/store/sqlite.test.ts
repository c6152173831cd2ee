/** The promise of `Store`, kept in SQLite. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openSqliteStore } from '#store/sqlite/open-sqlite-store.ts'
import { contract } from './contract.ts'

contract('sqlite', async (parts) => {
  const folder = await mkdtemp(join(tmpdir(), 's2-sqlite-'))
  const store = await openSqliteStore(join(folder, 'bridge.db'), parts)
  return {
    store,
    [Symbol.asyncDispose]: async () => {
      await store[Symbol.asyncDispose]()
      await rm(folder, { recursive: true })
    },
  }
})
