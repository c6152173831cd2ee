/**
 * Loaded into every test process: one that is still alive minutes later has left something open. The runner would
 * wait for it for ever; this names what is open and lets the file fail. A process that is done never meets it.
 */
const seconds = 360

setTimeout(() => {
  console.error(`still alive after ${seconds} s, kept by: ${process.getActiveResourcesInfo().join(', ')}`)
  process.exit(1)
}, seconds * 1000).unref()
