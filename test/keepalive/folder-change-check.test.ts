import assert from 'node:assert/strict'
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { folderVersion } from '#spool/atomic-files.ts'
import { FolderChangeCheck } from '../../services/keepalive/folder-change-check.ts'
import { ManualClock } from '../manual-clock.ts'

test('a folder is read after each change, once more when the grain of its clock has passed, and then no more', async () => {
  const clock = new ManualClock()
  let version = 'one'
  const glance = new FolderChangeCheck(clock, () => version)
  const look = async (): Promise<boolean> => {
    await clock.advance(20)
    return glance.mayHaveChanged()
  }
  const looks = async (count: number): Promise<boolean[]> => {
    const seen: boolean[] = []
    while (seen.length < count) seen.push(await look())
    return seen
  }
  assert.deepEqual(await looks(7), [true, true, true, true, false, false, false])
  version = 'two'
  assert.deepEqual(await looks(6), [true, true, true, true, false, false])
  glance.reset()
  assert.equal(await look(), true)
  assert.deepEqual(
    [
      new FolderChangeCheck(clock, undefined).mayHaveChanged(),
      new FolderChangeCheck(clock, undefined).mayHaveChanged(),
    ],
    [true, true],
  )
})

test('names that come and go change the version of a real folder', (context) => {
  const folder = mkdtempSync(join(tmpdir(), 's2-glance-'))
  context.after(() => rmSync(folder, { recursive: true, force: true }))
  const seen = new Set([folderVersion(folder)])
  const pause = (): void => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20)
  for (const change of [
    () => writeFileSync(join(folder, 'a'), ''),
    () => renameSync(join(folder, 'a'), join(folder, 'b')),
    () => rmSync(join(folder, 'b')),
  ]) {
    pause()
    change()
    seen.add(folderVersion(folder))
  }
  assert.equal(seen.size, 4)
  assert.equal(folderVersion(join(folder, 'none')), 'none')
})
