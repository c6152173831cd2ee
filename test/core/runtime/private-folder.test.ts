import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { keepFolderPrivate } from '#runtime/private-folder.ts'

/** Not in the folder of this run, which no other user may enter. */
const base = mkdtempSync('/tmp/s2-private-')
after(() => rmSync(base, { recursive: true, force: true }))

for (const [before, afterwards] of [
  [0o777, 0o750],
  [0o755, 0o750],
  [0o750, 0o750],
  [0o710, 0o710],
  [0o700, 0o700],
  [0o2700, 0o700],
  [0o2775, 0o750],
] as const) {
  test(`a state folder of mode ${before.toString(8)} becomes ${afterwards.toString(8)}`, () => {
    const folder = join(base, before.toString(8))
    mkdirSync(folder)
    chmodSync(folder, before)
    assert.equal(keepFolderPrivate(folder) === null, (before & 0o027) === 0)
    assert.equal(statSync(folder).mode & 0o7777, afterwards)
  })
}

test('one that is missing is made for its owner alone, with all above it', () => {
  const folder = join(base, 'not', 'yet')
  assert.equal(keepFolderPrivate(folder), null)
  for (const each of [folder, join(base, 'not')]) assert.equal(statSync(each).mode & 0o777, 0o700)
})

test('one that others may use and that is not ours is refused', { skip: process.getuid?.() !== 0 }, () => {
  const folder = join(base, 'of root')
  mkdirSync(folder)
  chmodSync(folder, 0o777)
  chmodSync(base, 0o755)
  const script = `import { keepFolderPrivate } from '${process.cwd()}/services/core/runtime/private-folder.ts'
    process.setgid(65534); process.setuid(65534)
    try { keepFolderPrivate(process.argv[1]); console.log('taken') } catch (error) { console.log(error.message) }`
  const said = execFileSync(process.execPath, ['--input-type=module', '-e', script, folder], { encoding: 'utf8' })
  assert.match(said, /was open to others \(mode 777\) and belongs to user 0.*chown it/)
})
