/** Opens a store, has its log taken away by another process, and ends by itself once it is told so. */
import { spawnSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { systemChance, systemClock } from '#runtime/clock.ts'
import { recordingLog } from '#runtime/log.ts'
import { openSqliteStore } from '#store/sqlite/open-sqlite-store.ts'
import { openChannel } from './sqlite-ground.ts'

const [path = '', other = ''] = process.argv.slice(2)
const broken = Promise.withResolvers<Error>()
const parts = { clock: systemClock, chance: systemChance, log: recordingLog(), onBroken: broken.resolve }
const store = await openSqliteStore(path, parts)
const { a } = await openChannel(store)
await store.send(a, 'k1', { text: 'held' })
for (const suffix of ['-wal', '-shm']) rmSync(path + suffix)
spawnSync(process.execPath, ['--input-type=module', '-e', other], { stdio: 'inherit' })
await store.tend().catch(() => undefined)
console.log(JSON.stringify({ broken: (await broken.promise).message }))
