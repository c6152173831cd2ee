import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { AckedLedger } from '#spool/acked-ledger.ts'

const folder = mkdtempSync(join(tmpdir(), 's2-acked-'))
after(() => rmSync(folder, { recursive: true }))

test('what is added while somebody first asks is known afterwards', async () => {
  for (let round = 1; round <= 50; round += 1) {
    const ledger = new AckedLedger(join(folder, `first-${round}`))
    await Promise.all([ledger.add([round]), ledger.has(0), ledger.has(0)])
    assert.ok(await ledger.has(round), `round ${round}`)
  }
})

test('what is added at once is all known, and each of it written once', async () => {
  const path = join(folder, 'at-once')
  const ledger = new AckedLedger(path)
  await Promise.all([1, 2, 3, 1, 2, 3].map((each) => ledger.add([each])))
  for (const each of [1, 2, 3]) assert.ok(await ledger.has(each))
  assert.equal(readFileSync(path, 'utf8').match(/^[0-9a-f]{13}$/gm)?.length, 3)
  const again = new AckedLedger(path)
  for (const each of [1, 2, 3]) assert.ok(await again.has(each))
})
