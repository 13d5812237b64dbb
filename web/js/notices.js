// Notices of the interface: newer versions of it know one by a number, older ones by the object that was given.

import { app } from "../../../scripts/app.js";

/** Show an error for so many milliseconds; returns a function that takes it away sooner. */
export function showError(summary, detail, life) {
  const { toast } = app.extensionManager;
  if (toast.dismiss) {
    const id = toast.error(summary, { description: detail, duration: life });
    return () => toast.dismiss(id);
  }
  const message = { severity: "error", summary, detail, life };
  toast.add(message);
  return () => toast.remove(message);
}
