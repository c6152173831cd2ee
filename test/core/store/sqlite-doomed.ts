/** Sends before and after the disk begins to fail, and says what it was told. Arguments: path, sender. */
import { once } from 'node:events'
import type { S2Error } from '#fleet/errors.ts'
import { partnerOf, type SessionId } from '#fleet/session-id.ts'
import { systemChance, systemClock } from '#runtime/clock.ts'
import { recordingLog } from '#runtime/log.ts'
import { openSqliteStore } from '#store/sqlite/open-sqlite-store.ts'

const [path = '', from = ''] = process.argv.slice(2)
const say = (word: object): void => void process.stdout.write(`${JSON.stringify(word)}\n`)
const broken = Promise.withResolvers<void>()
const store = await openSqliteStore(path, {
  clock: systemClock,
  chance: systemChance,
  log: recordingLog(),
  onBroken: () => broken.resolve(),
})
const send = async (text: string): Promise<void> => {
  await store.send(from as SessionId, text, { text }).then(
    () => say({ sent: text }),
    (error: S2Error) => say({ code: error.code }),
  )
}
await send('before')
await once(process.stdin, 'data')
await send('doomed')
await broken.promise
say({ broken: true })
await send('after')
say({ unacked: (await store.unacked(partnerOf(from as SessionId), 0, 10)).length })
