import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { Inbox } from '#spool/inbox.ts'
import { InboxScan } from '../../services/keepalive/inbox-scan.ts'
import { countFolderOpens } from '../core/spool/file-system-calls.ts'
import { letter, OTHER, READER, tempState } from '../core/spool/sample.ts'
import { ManualClock } from '../manual-clock.ts'

test('a thousand messages that lie there at the start are read with a few looks into their folders', async () => {
  using home = tempState()
  const faults: string[] = []
  const inbox = new Inbox(home.state, (fault) => faults.push(fault))
  await inbox.putAll(Array.from({ length: 1000 }, (_, index) => letter(index + 1, 'x', index % 2 ? OTHER : READER)))
  await inbox.take(10)
  await inbox.ack([1, 2, 3])
  writeFileSync(join(inbox.folder('new'), '2000.json'), 'scribbled over')
  const scan = new InboxScan({ inbox, clock: new ManualClock(), trackedBy: () => undefined })
  using counted = countFolderOpens()
  const { sessions } = await scan.scan()
  const counts = [READER, OTHER].map((session) => {
    const found = sessions.get(session)
    return [found?.new.length, found?.cur.length, found?.done.length]
  })
  assert.deepEqual(counts, [
    [495, 3, 2],
    [495, 4, 1],
  ])
  assert.ok(counted.opens < 50, `${counted.opens} folders were opened`)
  assert.match(faults.join(), /new\/2000\.json is not JSON/)
})
