/** Opens a store, lets a script do what it does to the files, and ends by itself once it is told that they were changed. */
import { spawnSync } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { systemChance, systemClock } from '#runtime/clock.ts'
import { recordingLog } from '#runtime/log.ts'
import { openSqliteStore } from '#store/sqlite/open-sqlite-store.ts'

const [path = '', deed = ''] = process.argv.slice(2)
let broken: Error | undefined
const onBroken = (error: Error): void => {
  broken = error
}
const store = await openSqliteStore(path, { clock: systemClock, chance: systemChance, log: recordingLog(), onBroken })
await store.tend()
console.log(JSON.stringify({ isOpen: true }))
if (deed !== '') spawnSync(process.execPath, ['--input-type=module', '-e', deed], { stdio: 'inherit' })
while (broken === undefined) {
  await store.tend().catch(() => undefined)
  await sleep(5)
}
console.log(JSON.stringify({ broken: broken.message }))
